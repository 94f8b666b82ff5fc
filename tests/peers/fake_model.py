"""A model that answers at once and keeps account of the usage it told.

Speaks Anthropic's Messages API, OpenAI's chat completions, the forms of both that Bedrock and Vertex
have, and Gemini's. `claude-slow` takes a second for its answer. Prints its port. `GET /` gives the totals
and the requests by path; `POST /fail` makes as many of the next requests fail as its body says.
With a file of a certificate and its key it is also a proxy behind which every host is this model.
"""

import base64
import json
import re
import ssl
import struct
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT = ["All ", "is ", "well."]
AWS_STREAM = "application/vnd.amazon.eventstream"
COUNTS_ONLY = re.compile("count_tokens|countTokens|count-tokens")


class Told:
    """What the model has told, under a lock."""

    def __init__(self):
        self.lock = threading.Lock()
        self.count = 0
        self.failing = 0
        self.tokens = {"input": 0, "output": 0, "cache_read": 0, "cache_write": 0}
        self.paths = {}

    def fails(self):
        with self.lock:
            self.failing -= self.failing > 0
            return self.failing > 0 or None

    def fail(self, count):
        with self.lock:
            self.failing = count

    def next(self, path, cached=True):
        """The usage of one more request; no two in a row are alike."""
        with self.lock:
            self.count += 1
            n = self.count
            usage = {"input": 100 + n, "output": 10 + n % 7, "cache_read": 0, "cache_write": 0}
            if cached:
                usage |= {"cache_read": 5 * (n % 3), "cache_write": 2 * (n % 2)}
            for kind, tokens in usage.items():
                self.tokens[kind] += tokens
            self.paths[path] = self.paths.get(path, 0) + 1
            return n, usage


told = Told()


def anthropic_usage(usage):
    return {
        "input_tokens": usage["input"],
        "output_tokens": usage["output"],
        "cache_read_input_tokens": usage["cache_read"],
        "cache_creation_input_tokens": usage["cache_write"],
    }


def message(n, model, usage, text):
    return {
        "id": f"msg_{n:06}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}] if text else [],
        "stop_reason": "end_turn" if text else None,
        "stop_sequence": None,
        "usage": usage,
    }


def message_events(n, model, usage):
    start = anthropic_usage(usage | {"output": 1})
    yield {"type": "message_start", "message": message(n, model, start, "")}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for text in TEXT:
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    yield {"type": "content_block_stop", "index": 0}
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": anthropic_usage(usage)}
    yield {"type": "message_stop"}


def converse_events(usage):
    yield "messageStart", {"role": "assistant"}
    for text in TEXT:
        yield "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}}
    yield "contentBlockStop", {"contentBlockIndex": 0}
    yield "messageStop", {"stopReason": "end_turn"}
    yield "metadata", {"usage": converse_usage(usage), "metrics": {"latencyMs": 1}}


def converse_usage(usage):
    total = usage["input"] + usage["output"] + usage["cache_read"] + usage["cache_write"]
    return {
        "inputTokens": usage["input"],
        "outputTokens": usage["output"],
        "totalTokens": total,
        "cacheReadInputTokens": usage["cache_read"],
        "cacheWriteInputTokens": usage["cache_write"],
    }


def aws_event(kind, body):
    """A frame of AWS's event stream."""
    headers = b""
    for name, value in ((":event-type", kind), (":content-type", "application/json"), (":message-type", "event")):
        headers += bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    payload = json.dumps(body).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    frame = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return frame + struct.pack(">I", zlib.crc32(frame))


def completion(n, model, usage, choice, kind):
    made = {"id": f"chatcmpl-{n:06}", "object": kind, "created": 1, "model": model, "choices": choice}
    if usage:
        prompt = usage["input"] + usage["cache_read"]
        made["usage"] = {
            "prompt_tokens": prompt,
            "completion_tokens": usage["output"],
            "total_tokens": prompt + usage["output"],
            "prompt_tokens_details": {"cached_tokens": usage["cache_read"]},
        }
    return made


def generated(text, usage=None):
    candidate = {"index": 0, "content": {"role": "model", "parts": [{"text": text}]}}
    made = {"modelVersion": "gemini-2.5-flash", "candidates": [candidate]}
    if usage:
        candidate["finishReason"] = "STOP"
        total = usage["input"] + usage["output"]
        counts = {"promptTokenCount": usage["input"], "candidatesTokenCount": usage["output"]}
        made["usageMetadata"] = counts | {"totalTokenCount": total}
    return made


class Model(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_CONNECT(self):
        """Is every host, for clients that take it for their proxy."""
        self.send_response(200)
        self.end_headers()
        self.connection = every_host.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", 0)

    def do_HEAD(self):
        self.answer({})

    def do_GET(self):
        with told.lock:
            self.answer({"requests": told.count, "tokens": told.tokens, "paths": told.paths})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        path = self.path.split("?")[0]
        if path == "/fail":
            told.fail(body + 1)
            return self.answer({})
        if COUNTS_ONLY.search(path):
            return self.answer({"input_tokens": 7, "totalTokens": 7})
        if told.fails():
            error = {"type": "error", "error": {"type": "api_error", "message": "out of order"}}
            return self.answer(error, 500)
        model = body.get("model", "claude-sonnet-4-5")
        self.pause = 0.2 if model == "claude-slow" else 0
        if path.endswith("/chat/completions"):
            return self.chat(path, model, body)
        if path.endswith("enerateContent"):
            return self.generate(path)
        n, usage = told.next(path)
        if path.endswith("/converse"):
            content = {"role": "assistant", "content": [{"text": "".join(TEXT)}]}
            answer = {"output": {"message": content}, "stopReason": "end_turn", "metrics": {"latencyMs": 1}}
            return self.answer(answer | {"usage": converse_usage(usage)})
        if path.endswith("/converse-stream"):
            return self.stream((aws_event(*event) for event in converse_events(usage)), AWS_STREAM)
        events = message_events(n, model, usage)
        if path.endswith("/invoke-with-response-stream"):
            return self.stream((aws_event("chunk", packed(event)) for event in events), AWS_STREAM)
        if body.get("stream") or path.endswith(":streamRawPredict"):
            lines = (f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)
            return self.stream(lines, "text/event-stream")
        return self.answer(message(n, model, anthropic_usage(usage), "".join(TEXT)))

    def chat(self, path, model, body):
        n, usage = told.next(path, cached=False)
        if not body.get("stream"):
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "".join(TEXT)}}
            return self.answer(completion(n, model, usage, [choice], "chat.completion"))
        kind = "chat.completion.chunk"
        deltas = [{"role": "assistant", "content": text} for text in TEXT]
        chunks = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas]
        chunks.append([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        made = [completion(n, model, None, chunk, kind) for chunk in chunks]
        made.append(completion(n, model, usage, [], kind))
        lines = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in made]
        return self.stream([*lines, b"data: [DONE]\n\n"], "text/event-stream")

    def generate(self, path):
        _, usage = told.next(path, cached=False)
        if path.endswith(":generateContent"):
            return self.answer(generated("".join(TEXT), usage))
        chunks = [generated(text) for text in TEXT[:-1]] + [generated(TEXT[-1], usage)]
        return self.stream((f"data: {json.dumps(chunk)}\r\n\r\n".encode() for chunk in chunks), "text/event-stream")

    def answer(self, body, status=200):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, parts, content_type):
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for part in parts:
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            self.wfile.flush()
            time.sleep(self.pause)
        self.wfile.write(b"0\r\n\r\n")


def packed(event):
    return {"bytes": base64.b64encode(json.dumps(event).encode()).decode()}


every_host = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
if len(sys.argv) > 1:
    every_host.load_cert_chain(sys.argv[1])
server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
server.daemon_threads = True
server.handle_error = lambda *_: None  # clients hang up
print(server.server_port)
sys.stdout.flush()
server.serve_forever()
