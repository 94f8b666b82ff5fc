//! Programs in Python that tests talk to. `scripts/test.sh` installs what they need.

use std::path::PathBuf;

/// The interpreter with the packages of `tests/peers/requirements.txt`.
pub(crate) fn python() -> PathBuf {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    target.parent().unwrap().join("peers/otel/bin/python")
}
