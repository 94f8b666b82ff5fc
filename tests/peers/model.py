"""A model API that answers as Anthropic's does, for gateways to stand in front of.

usage: model.py, which prints the port. Each answer has the same usage, streamed or not; a request
with "hang" gets the begin of a stream, until somebody hangs up.
GET /totals tells what was answered: requests, and tokens by kind.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USAGE = {
    "input_tokens": 100,
    "output_tokens": 50,
    "cache_read_input_tokens": 30,
    "cache_creation_input_tokens": 20,
}
# What the first event of a stream tells.
BEGUN = {**USAGE, "output_tokens": 1}
totals = {"requests": 0, **dict.fromkeys(USAGE, 0)}
lock = threading.Lock()


class Model(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with lock:
            self.answer(200, totals)

    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        request = json.loads(self.rfile.read(length))
        if self.path == "/v1/messages/count_tokens":
            self.answer(200, {"input_tokens": USAGE["input_tokens"]})
        elif request.get("fail"):
            error = {"type": "overloaded_error", "message": "overloaded"}
            self.answer(529, {"type": "error", "error": error})
        else:
            usage = BEGUN if request.get("hang") else USAGE
            with lock:
                totals["requests"] += 1
                for kind, count in usage.items():
                    totals[kind] += count
            if request.get("stream"):
                self.stream(request["model"], request.get("hang"))
            else:
                text = [{"type": "text", "text": "hello"}]
                self.answer(
                    200,
                    {
                        "type": "message",
                        "model": request["model"],
                        "content": text,
                        "usage": USAGE,
                    },
                )

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, model, hang):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.event("message_start", message={"model": model, "usage": BEGUN})
        if hang:
            self.rfile.read(1)
            self.close_connection = True
            return
        delta = {"type": "text_delta", "text": "hello"}
        self.event("content_block_delta", index=0, delta=delta)
        for output in (USAGE["output_tokens"] // 2, USAGE["output_tokens"]):
            self.event("message_delta", delta={}, usage={"output_tokens": output})
        self.event("message_stop")
        self.wfile.write(b"0\r\n\r\n")

    def event(self, kind, **fields):
        data = json.dumps({"type": kind, **fields})
        event = f"event: {kind}\ndata: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.wfile.flush()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
print(server.server_address[1], flush=True)
sys.stdin.close()
server.serve_forever()
