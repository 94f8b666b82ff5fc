#!/bin/sh
# Installs what the tests need if it is missing, then checks everything. Stops at the first fault.
set -eu
cd "$(dirname "$0")/.."
peers=$PWD/target/peers
mkdir -p "$peers"

say() { printf '\n==> %s\n' "$*"; }
run() { say "$*"; "$@"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# apt_get ARGUMENTS...: with lists of packages, which images often come without.
apt_get() {
    as_root apt-get -q update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q "$@"
}

# The bundled SQLite and the TLS library are C.
command -v cc >/dev/null || run apt_get install -y --no-install-recommends gcc libc6-dev

# Unpacked rather than installed: the package would start a service.
PATH=$PATH:$peers/prometheus/usr/bin:$peers/alertmanager/usr/bin
export PATH
if ! command -v prometheus >/dev/null || ! command -v promtool >/dev/null; then
    say "fetching Prometheus"
    as_root apt-get -q update
    (cd "$peers" && rm -f prometheus_*.deb && apt-get -q download prometheus)
    dpkg-deb -x "$peers"/prometheus_*.deb "$peers/prometheus"
fi

if ! command -v prometheus-alertmanager >/dev/null; then
    say "fetching Alertmanager"
    as_root apt-get -q update
    (cd "$peers" && rm -f prometheus-alertmanager_*.deb && apt-get -q download prometheus-alertmanager)
    dpkg-deb -x "$peers"/prometheus-alertmanager_*.deb "$peers/alertmanager"
fi

otel=$peers/otel
if ! cmp -s tests/peers/requirements.txt "$otel/requirements.txt"; then
    rm -rf "$otel"
    python3 -m venv "$otel" 2>/dev/null || {
        run apt_get install -y --no-install-recommends python3-venv
        rm -rf "$otel"
        run python3 -m venv "$otel"
    }
    run "$otel/bin/python" -m pip install -q --disable-pip-version-check -r tests/peers/requirements.txt
    cp tests/peers/requirements.txt "$otel/"
fi

# LiteLLM wants a Python that is not the newest, and packages that the other peers do not share.
litellm=$peers/litellm
if ! cmp -s tests/peers/litellm.txt "$litellm/litellm.txt"; then
    # A name on the path may be a stand-in for a version that is not chosen.
    for python in python3.12 "$HOME"/.pyenv/versions/3.12.*/bin/python python3; do
        if "$python" -c '' 2>/dev/null; then break; fi
    done
    rm -rf "$litellm"
    run "$python" -m venv "$litellm"
    run "$litellm/bin/python" -m pip install -q --disable-pip-version-check -r tests/peers/litellm.txt
    cp tests/peers/litellm.txt "$litellm/"
fi

# Readers of reports. The validator of FOCUS wants a Python that is not the newest, too.
focus=$peers/focus
if ! cmp -s tests/peers/focus.txt "$focus/focus.txt"; then
    for python in python3.12 "$HOME"/.pyenv/versions/3.12.*/bin/python python3; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then break; fi
    done
    rm -rf "$focus"
    run "$python" -m venv "$focus"
    run "$focus/bin/python" -m pip install -q --disable-pip-version-check -r tests/peers/focus.txt
    cp tests/peers/focus.txt "$focus/"
fi
command -v chromium >/dev/null || run apt_get install -y --no-install-recommends chromium

claude_code=2.1.197
if [ "$(cat "$peers/claude/version" 2>/dev/null)" != "$claude_code" ]; then
    command -v npm >/dev/null || run apt_get install -y --no-install-recommends npm
    run npm install --prefix "$peers/claude" --no-audit --no-fund --silent "@anthropic-ai/claude-code@$claude_code"
    echo "$claude_code" >"$peers/claude/version"
fi

tree() { git status --porcelain 2>/dev/null; git diff 2>/dev/null || true; }
before=$(tree)

run cargo fmt --check
run cargo clippy --locked --all-targets -- -D warnings
RUSTDOCFLAGS='-D warnings' run cargo doc --locked --no-deps
run cargo test --locked --lib
run cargo test --locked --test it

# The SDK of AWS in the tests takes these; moto takes any. Nothing looks for an instance's role.
AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_EC2_METADATA_DISABLED=true
export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_EC2_METADATA_DISABLED

# The tests that need another program, root or much time.
skip=
disk=$(mktemp -d)
if mount -t tmpfs -o size=1m tmpfs "$disk" 2>/dev/null; then
    umount "$disk"
else
    say "NOT RUN, because nothing can be mounted here: operation::a_full_disk_..."
    echo "(operation::a_file_that_may_not_grow_... has passed, and covers the same path)"
    skip='--skip a_full_disk_stops_writes'
fi
rmdir "$disk"
run cargo test --locked --lib -- --ignored
# shellcheck disable=SC2086 # no argument, or two
run cargo test --locked --test it -- --ignored $skip

run cargo check --manifest-path fuzz/Cargo.toml --target-dir target
if cargo deny --version >/dev/null 2>&1; then
    run cargo deny check
fi

say "looking for files that the tests changed"
if [ "$(tree)" != "$before" ]; then
    git status --short
    exit 1
fi
say "all is well"
