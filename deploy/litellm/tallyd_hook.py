"""LiteLLM asks tallyd before each model call and tells it afterwards what the call used.

Set-up, routes and what happens when tallyd is down: docs/litellm.md. Settings come from the
environment, see `Settings`. The parameter names of the hooks are LiteLLM's: it calls them by name.
"""

import asyncio
import fcntl
import itertools
import json
import logging
import os
import re
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, TextIO

import httpx
from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy._types import ProxyException

log: Final = logging.getLogger("tallyd")

RESERVATION: Final = "quota_reservation_id"
"""The key in a request's metadata. What a client puts there is overwritten."""

MAX_CALLS: Final = 100_000
"""Calls remembered, to settle each once; the oldest are forgotten."""

FAILURES_TO_OPEN: Final = 3
"""After so many failures in a row tallyd is not asked for BREAK_SECONDS."""

BREAK_SECONDS: Final = 1.0
SETTLE_SECONDS: Final = 5.0
"""Nobody waits for a settlement, so it may take longer than a question."""

REPLAY_SECONDS: Final = 1.0
REPLAY_AT_ONCE: Final = 16
"""Lines of the spool under way together: tallyd commits them with one flush."""

RETRY_GRACE_SECONDS: Final = 60.0
"""A failed attempt may be tried again: its hold stays this long, unless the request is over."""

BYTES_PER_TOKEN: Final = 4
PROMPT_PARTS: Final = ("messages", "system", "tools", "input", "instructions", "prompt", "contents")
MAX_TOKENS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
COUNTS_ONLY: Final = re.compile(r"(count[_-]tokens|:countTokens|count-tokens:rawPredict)$", re.IGNORECASE)
MODEL_IN_PATH: Final = re.compile(r"/model/(.+)/(?:invoke|converse)|/models/([^/:]+):")
SESSION_HEADER: Final = "x-claude-code-session-id"
PASSED_ON: Final = ("ratelimit", "x-ratelimit-", "anthropic-ratelimit-")

Json = dict[str, Any]
Line = tuple[Json | None, int]
"""What is to be sent, and where it ends in the spool; None cannot be read."""


@dataclass(frozen=True)
class Settings:
    """`TALLYD_URL`, `TALLYD_TOKEN` or `TALLYD_TOKEN_FILE`, `TALLYD_ON_ERROR` (closed or open),
    `TALLYD_DEADLINE_MS`, `TALLYD_LEASE_SECONDS`, `TALLYD_DEFAULT_MAX_TOKENS`, `TALLYD_SPOOL` (a
    folder), `TALLYD_SPOOL_MAX_BYTES`."""

    url: str
    token: str
    open_on_error: bool
    deadline_seconds: float
    lease_ms: int
    default_max_tokens: int
    spool: Path
    spool_max_bytes: int

    @staticmethod
    def read(env: Mapping[str, str]) -> "Settings":
        on_error = env.get("TALLYD_ON_ERROR", "closed")
        if on_error not in ("closed", "open"):
            raise ValueError(f"TALLYD_ON_ERROR: must be closed or open, got {on_error}")
        token = env.get("TALLYD_TOKEN", "")
        if file := env.get("TALLYD_TOKEN_FILE"):
            token = Path(file).read_text().strip()
        return Settings(
            url=env.get("TALLYD_URL", "http://127.0.0.1:9477").rstrip("/"),
            token=token,
            open_on_error=on_error == "open",
            deadline_seconds=_count(env, "TALLYD_DEADLINE_MS", 50) / 1000,
            lease_ms=_count(env, "TALLYD_LEASE_SECONDS", 900) * 1000,
            default_max_tokens=_count(env, "TALLYD_DEFAULT_MAX_TOKENS", 4096),
            spool=Path(env.get("TALLYD_SPOOL", "tallyd-spool")),
            spool_max_bytes=_count(env, "TALLYD_SPOOL_MAX_BYTES", 64 << 20),
        )


def _count(env: Mapping[str, str], name: str, otherwise: int) -> int:
    text = env.get(name, str(otherwise))
    if not text.isdigit() or int(text) == 0:
        raise ValueError(f"{name}: must be a whole number above 0, got {text}")
    return int(text)


class Unreachable(Exception):
    """tallyd gave no answer that decides anything."""


class Spool:
    """What tallyd has not taken yet: JSON lines in a file of this process.

    The file is locked while the process lives, so that another one takes over the files of those
    that died. A line may be sent twice (after a crash in the middle of a replay): settling twice
    charges once.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.max_bytes = max_bytes
        self.overflowed = 0
        self.own = folder / f"{os.getpid()}-{uuid.uuid4().hex}.jsonl"
        self.file = self.own.open("a+", encoding="utf-8")
        fcntl.flock(self.file, fcntl.LOCK_EX)
        self.sent_to = 0
        self.waiting = 0

    def put(self, line: Json) -> None:
        """Keeps a line, or counts it as lost when the spool is full or the disk refuses it."""
        text = json.dumps(line, separators=(",", ":")) + "\n"
        try:
            if self.file.seek(0, os.SEEK_END) + len(text) > self.max_bytes:
                raise OSError(f"{self.max_bytes} bytes are reached")
            self.file.write(text)
            self.file.flush()
            self.waiting += 1
        except OSError as error:
            self.overflowed += 1
            log.error("the spool takes no more, %d lost so far (%s): %s", self.overflowed, error, text.strip())

    def next(self, most: int) -> list[Line]:
        """The oldest lines that are not sent yet."""
        self.file.seek(self.sent_to)
        lines: list[Line] = []
        while len(lines) < most and (text := self.file.readline()):
            lines.append((_parsed(text), self.file.tell()))
        return lines

    def sent(self, lines: list[Line]) -> None:
        """Passes over the first of the lines that `next` gave; an empty spool gives its space back."""
        if lines:
            self.sent_to = lines[-1][1]
        self.waiting = max(0, self.waiting - len(lines))
        self.file.seek(self.sent_to)
        if not self.file.readline():
            self.file.truncate(0)
            self.sent_to = self.waiting = 0

    def adopt(self) -> None:
        """Takes over what processes left that are gone."""
        for path in self.folder.glob("*.jsonl"):
            if path == self.own:
                continue
            try:
                with path.open("r+", encoding="utf-8") as left:
                    if _locked(left):
                        for text in left:
                            if line := _parsed(text):
                                self.put(line)
                        path.unlink(missing_ok=True)
            except FileNotFoundError:
                continue  # another process was faster


def _parsed(text: str) -> Json | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None  # cut off by a crash
    return line if isinstance(line, dict) else None


def _locked(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@dataclass
class Answer:
    """What tallyd said."""

    status: int
    body: Json
    headers: dict[str, str]

    @property
    def done(self) -> bool:
        """False if sending it again later can help."""
        if self.status == 403:
            return self.body.get("code") == "identity_not_allowed"
        return self.status < 500 and self.status not in (401, 408, 429)


class Tallyd:
    """Asks tallyd under a deadline, stops asking while it is down, and replays the spool."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.spool = Spool(settings.spool, settings.spool_max_bytes)
        self.failures = 0
        self.closed_until = 0.0
        self.client: httpx.AsyncClient | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.replaying: asyncio.Task[None] | None = None
        self.aside: set[asyncio.Task[None]] = set()

    async def ask(self, path: str, body: Json, seconds: float) -> Answer:
        """One POST. Raises `Unreachable` at once while tallyd is taken to be down."""
        if time.monotonic() < self.closed_until:
            raise Unreachable("it did not answer a moment ago")
        try:
            answer = await asyncio.wait_for(self._post(path, body), seconds)
        except (httpx.HTTPError, asyncio.TimeoutError, ValueError) as error:
            self._failed()
            raise Unreachable(type(error).__name__) from error
        self.failures = 0
        return answer

    def _failed(self) -> None:
        self.failures += 1
        if self.failures >= FAILURES_TO_OPEN:
            self.closed_until = time.monotonic() + BREAK_SECONDS
            if self.failures == FAILURES_TO_OPEN:
                log.error("tallyd does not answer at %s", self.settings.url)

    async def _post(self, path: str, body: Json) -> Answer:
        response = await self._connected().post(f"/api/v1/quota/reservations{path}", json=body)
        said = response.json() if response.content else {}
        return Answer(response.status_code, said if isinstance(said, dict) else {}, dict(response.headers))

    def _connected(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        if self.client is None or self.loop is not loop:
            headers = {"Authorization": f"Bearer {self.settings.token}"} if self.settings.token else {}
            # Proxies of the environment are for providers, not for a neighbour.
            self.client = httpx.AsyncClient(base_url=self.settings.url, headers=headers, trust_env=False)
            self.loop = loop
        return self.client

    async def tell(self, path: str, body: Json) -> None:
        """Settles or releases, now or later."""
        if self.spool.waiting == 0 and await self._told(path, body):
            return
        self.spool.put({"path": path, "body": body})

    def tell_aside(self, path: str, body: Json) -> None:
        """As `tell`, while the caller goes on: somebody waits for its answer."""
        task = asyncio.get_running_loop().create_task(self.tell(path, body))
        self.aside.add(task)
        task.add_done_callback(self.aside.discard)

    async def _told(self, path: str, body: Json) -> bool:
        try:
            answer = await self.ask(path, body, SETTLE_SECONDS)
        except Unreachable:
            return False
        if answer.done and answer.status >= 400 and not path.endswith("/release"):
            log.error("tallyd refused %s with %d: %s", path, answer.status, answer.body.get("detail"))
        return answer.done

    def start(self) -> None:
        """Replays in the background of the running event loop."""
        if self.replaying is None or self.replaying.done() or self.loop is not asyncio.get_running_loop():
            self._connected()
            self.replaying = asyncio.get_running_loop().create_task(self._replay())

    async def _replay(self) -> None:
        while True:
            self.spool.adopt()
            while lines := self.spool.next(REPLAY_AT_ONCE):
                # In any order: no two lines are about one reservation. What was taken behind one
                # that was not is sent again with it, and changes nothing then.
                done = await asyncio.gather(*(self._replayed(line) for line, _ in lines))
                self.spool.sent([line for line, taken in zip(lines, itertools.accumulate(done, min)) if taken])
                if not all(done):
                    break
            await asyncio.sleep(REPLAY_SECONDS)

    async def _replayed(self, line: Json | None) -> bool:
        return line is None or await self._told(line["path"], line["body"])


@dataclass
class Call:
    """One admitted request."""

    id: str
    body: Json
    """Who and which model, for a settlement of a reservation that tallyd does not know."""
    headers: dict[str, str] = field(default_factory=dict)
    settled: bool = False
    released: bool = False
    failing: asyncio.Task[None] | None = None
    """Releases it a while after a failed attempt."""


class QuotaHook(CustomLogger):
    """The callback; `handler` below is what config.yaml names."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.tallyd = Tallyd(settings)
        self.calls: OrderedDict[str, Call] = OrderedDict()

    async def async_pre_call_hook(self, user_api_key_dict: Any, cache: Any, data: Json, call_type: str) -> None:
        """Reserves. Raises the answer for the client if the call is not admitted."""
        self.tallyd.start()
        route = user_api_key_dict.request_route or ""
        if COUNTS_ONLY.search(route) or "count_tokens" in call_type:
            return
        if "fallbacks" in ((data.get("proxy_server_request") or {}).get("body") or {}):
            raise denied(400, "This gateway chooses fallbacks itself: leave `fallbacks` out of the request.", {})
        body = {"subject": subject_of(user_api_key_dict), **model_of(data, route)}
        call = Call(f"litellm-{uuid.uuid4().hex}", body)
        asked = {
            "id": call.id,
            **body,
            "estimate": estimate_of(data, self.settings.default_max_tokens),
            "ttl_ms": self.settings.lease_ms,
        }
        try:
            answer = await self.tallyd.ask("", asked, self.settings.deadline_seconds)
            call.headers = self._admitted(answer)
        except Unreachable as error:
            if not self.settings.open_on_error:
                # It may have been held all the same.
                self._release(call)
                raise denied(503, f"The quota service cannot be asked ({error}). Try again later.", {}) from error
        self._keep(call, data)

    def _admitted(self, answer: Answer) -> dict[str, str]:
        if answer.status in (200, 201) or answer.body.get("fail_mode") == "open":
            standings = {name: text for name, text in answer.headers.items() if name.startswith(PASSED_ON)}
            return {**standings, **(answer.body.get("client_headers") or {})}
        ready = answer.body.get("client_answer")
        if not isinstance(ready, dict):
            log.error("tallyd answered %d: %s", answer.status, answer.body.get("detail"))
            raise Unreachable(f"status {answer.status}")
        raise denied(ready["status"], ready["body"]["error"]["message"], ready["headers"])

    def _keep(self, call: Call, data: Json) -> None:
        self.calls[call.id] = call
        if len(self.calls) > MAX_CALLS:
            self.calls.popitem(last=False)
        # The provider gets `metadata` on some routes, `litellm_metadata` on none.
        bucket = "metadata" if "litellm_metadata" not in data and "metadata" in data else "litellm_metadata"
        metadata = data.get(bucket)
        data[bucket] = {**(metadata if isinstance(metadata, dict) else {}), RESERVATION: call.id}

    async def async_post_call_response_headers_hook(
        self,
        data: Json,
        user_api_key_dict: Any,
        response: object,
        request_headers: dict[str, str] | None = None,
        litellm_call_info: dict[str, object] | None = None,
    ) -> dict[str, str] | None:
        """How the limits stand, for the client."""
        call = self._call(data)
        return call.headers if call else None

    async def async_log_success_event(self, kwargs: Json, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Settles. Called twice for some streams, and for calls that no hook was asked about."""
        logged = kwargs.get("standard_logging_object") or {}
        if "count_tokens" in str(logged.get("call_type")) or "token_counter" in str(logged.get("call_type")):
            return
        if not any(tokens_of(logged).values()) and not logged.get("cache_hit"):
            log.warning("LiteLLM knows no usage of a %s call: its hold ends with the lease", logged.get("model"))
            return
        call = self._call(kwargs) or self._unasked(logged)
        if call.settled:
            return
        call.settled = True
        if call.failing is not None:
            call.failing.cancel()
        # Of a released reservation nothing can be settled: what came after it is a call of its own.
        name = f"{call.id}-late" if call.released else call.id
        settled = {**settlement_of(kwargs, logged, "success"), **call.body}
        await self.tallyd.tell(f"/{name}/settle?upsert=true", settled)

    async def async_log_failure_event(self, kwargs: Json, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """An attempt failed. LiteLLM may try again or fall back, so the hold ends a while later."""
        call = self._call(kwargs)
        if call is None or call.failing is not None:
            return

        async def end(call: Call) -> None:
            await asyncio.sleep(RETRY_GRACE_SECONDS)
            self._release(call)

        call.failing = asyncio.get_running_loop().create_task(end(call))

    async def async_post_call_failure_hook(
        self,
        request_data: Json,
        original_exception: Exception,
        user_api_key_dict: Any,
        traceback_str: str | None = None,
    ) -> None:
        """The request is over: no attempt succeeded, or another hook refused it."""
        if call := self._call(request_data):
            self._release(call)

    def _release(self, call: Call) -> None:
        if call.settled or call.released:
            return
        call.released = True
        self.tallyd.tell_aside(f"/{call.id}/release", {})

    def _call(self, kwargs: Json) -> Call | None:
        """The call that this process reserved for; what a client claims is no key of ours."""
        places = (kwargs, kwargs.get("litellm_params") or {})
        for place in places:
            for bucket in ("litellm_metadata", "metadata"):
                metadata = place.get(bucket)
                name = metadata.get(RESERVATION) if isinstance(metadata, dict) else None
                if isinstance(name, str) and (call := self.calls.get(name)):
                    return call
        return None

    def _unasked(self, logged: Json) -> Call:
        """A call on a route where LiteLLM asks no hook: it is charged, though it was not limited."""
        # With the provider's id: a client may choose LiteLLM's own.
        key = f"unasked-{logged.get('litellm_call_id')}-{logged.get('id')}"
        call = self.calls.setdefault(key, Call(f"litellm-{uuid.uuid5(uuid.NAMESPACE_OID, key).hex}", {}))
        who = logged.get("metadata") or {}
        names = ("user_api_key_user_email", "user_api_key_user_id", "user_api_key_alias", "user_api_key_hash")
        call.body = {
            "subject": _without_none(
                user=_user(*(who.get(name) for name in names)),
                team=who.get("user_api_key_team_alias") or who.get("user_api_key_team_id"),
            ),
            **model_of({"model": logged.get("model"), "custom_llm_provider": logged.get("custom_llm_provider")}, ""),
        }
        return call


def denied(status: int, text: str, headers: Mapping[str, str]) -> ProxyException:
    """An answer that clients show at once and do not try again.

    LiteLLM writes the body as the route's clients know it. Of other exceptions `/v1/messages` drops
    the headers, without which Claude Code goes on trying for minutes.
    """
    kind = {429: "rate_limit_error", 503: "api_error"}.get(status, "invalid_request_error")
    return ProxyException(text, kind, None, status, {"x-should-retry": "false", **headers})


def _without_none(**fields: Any) -> Json:
    return {name: value for name, value in fields.items() if value}


def _user(*names: str | None) -> str | None:
    """The first name there is; LiteLLM's administrator is nobody."""
    return next((name for name in names if name and name != "default_user_id"), None)


def subject_of(key: Any) -> Json:
    """Who the key belongs to. `user` in the body is the client's word, and not asked."""
    hashed = key.api_key if isinstance(key.api_key, str) else None
    return _without_none(
        user=_user(key.user_email, key.user_id, key.key_alias, hashed),
        team=key.team_alias or key.team_id,
        project=getattr(key, "project_id", None),
        organization=key.org_id,
    )


def model_of(data: Json, route: str) -> Json:
    """The model that the proxy's configuration has behind the name, and its provider."""
    name = data.get("model")
    if not isinstance(name, str) or not name:
        found = MODEL_IN_PATH.search(f"/{data.get('endpoint') or route}")
        name = next((part for part in found.groups() if part), "unknown") if found else "unknown"
    deployment = _deployment(name)
    provider, slash, model = deployment.partition("/")
    if slash and deployment != name:
        return {"model": model, "provider": provider}
    return _without_none(model=name, provider=data.get("custom_llm_provider"))


def _deployment(name: str) -> str:
    from litellm.proxy.proxy_server import llm_router

    deployments = llm_router.get_model_list(model_name=name) if llm_router else None
    for deployment in deployments or []:
        model = (deployment.get("litellm_params") or {}).get("model")
        if isinstance(model, str):
            return model
    return name


def estimate_of(data: Json, default_max_tokens: int) -> Json:
    """What the call may use at most, for the hold. The settlement says what it was."""
    body = data["data"] if isinstance(data.get("data"), dict) else data
    prompt = sum(len(json.dumps(body[part], default=str)) for part in PROMPT_PARTS if body.get(part))
    most = next((body[name] for name in MAX_TOKENS if isinstance(body.get(name), int)), None)
    nested = body.get("inferenceConfig") or body.get("generationConfig") or {}
    most = most or nested.get("maxTokens") or nested.get("maxOutputTokens") or default_max_tokens
    return {"input_tokens": prompt // BYTES_PER_TOKEN, "max_output_tokens": max(0, int(most))}


def settlement_of(kwargs: Json, logged: Json, outcome: str) -> Json:
    """What a logged call used, and when it ended."""
    ended = logged.get("endTime") or time.time()
    took = ended - (logged.get("startTime") or ended)
    request = (kwargs.get("litellm_params") or {}).get("proxy_server_request") or {}
    headers = request.get("headers") or {}
    return {
        "tokens": tokens_of(logged),
        "outcome": outcome,
        "occurred_at": datetime.fromtimestamp(ended, timezone.utc).isoformat(),
        "duration_ms": max(0, int(took * 1000)),
        **_without_none(session=headers.get(SESSION_HEADER)),
    }


def tokens_of(logged: Json) -> Json:
    """LiteLLM's prompt tokens hold cache reads and writes; tallyd's kinds are disjoint."""
    if logged.get("cache_hit") is True:
        return {"input": 0, "output": 0}  # from LiteLLM's own cache: the provider saw nothing of it
    usage = (logged.get("metadata") or {}).get("usage_object") or {}
    details = usage.get("prompt_tokens_details") or {}
    read = max(usage.get("cache_read_input_tokens") or 0, details.get("cached_tokens") or 0)
    write = max(usage.get("cache_creation_input_tokens") or 0, details.get("cache_creation_tokens") or 0)
    lifetimes = usage.get("cache_creation") or details.get("cache_creation_token_details") or {}
    return {
        "input": max(0, (logged.get("prompt_tokens") or 0) - read - write),
        "output": logged.get("completion_tokens") or 0,
        "cache_read": read,
        "cache_write": write,
        **_without_none(
            cache_write_5m=lifetimes.get("ephemeral_5m_input_tokens"),
            cache_write_1h=lifetimes.get("ephemeral_1h_input_tokens"),
        ),
    }


handler: Final = QuotaHook(Settings.read(os.environ))
