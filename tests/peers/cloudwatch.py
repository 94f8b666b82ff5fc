"""An AWS for tests: moto behind a front that is as strict as CloudWatch.

usage: cloudwatch.py    prints `listening http://127.0.0.1:PORT`, serves until it is ended

The AWS SDK for Rust speaks rpc-v2-cbor to CloudWatch, which moto does not: the front translates.
It refuses what CloudWatch refuses and moto takes, plays faults, and keeps what it was sent. All
else (STS, SNS) goes to moto as it came.

    POST   /_faults   {"kind": KIND, "operation": "PutMetricData", "count": 1, ...}
    DELETE /_faults   all is well again
    GET    /_calls    each call: operation, datums, bytes, packed, status, code, fault, stored
    GET    /_datums   each datum that was stored: namespace, metric, dimensions, minute, ...

Kinds of faults: throttle, fault (500), busy (503), deny, expired (token), too_large (more datums
than `most`), hang (nothing stored, no answer for `seconds`, nor later), drop (stored, no answer
for `seconds`, nor later), reject (a datum whose metric is `metric` and, if given, whose minute is
`minute`). A count of null lasts until it is deleted.
"""

import datetime
import gzip
import http.client
import http.server
import json
import math
import re
import threading
import time

import cbor2
from moto.server import ThreadedMotoServer

SERVICE = "GraniteServiceVersion20100801"
PATH = re.compile(rf"^/service/{SERVICE}/operation/(\w+)$")

MAX_BODY = 1_000_000
MAX_DATUMS = 1_000
MAX_DIMENSIONS = 30
MAX_VALUES = 150
MAX_MAGNITUDE = 2.0**360
OLDEST = 14 * 86_400
FURTHEST = 2 * 3_600
UNITS = {
    *("Seconds", "Microseconds", "Milliseconds", "Bytes", "Kilobytes", "Megabytes"),
    *("Gigabytes", "Terabytes", "Bits", "Kilobits", "Megabits", "Gigabits", "Terabits"),
    *("Percent", "Count", "Bytes/Second", "Kilobytes/Second", "Megabytes/Second"),
    *("Gigabytes/Second", "Terabytes/Second", "Bits/Second", "Kilobits/Second"),
    *("Megabits/Second", "Gigabits/Second", "Terabits/Second", "Count/Second", "None"),
}

# What the SDK calls the errors, by the code in the header.
SHAPES = {
    "InvalidParameterValue": "InvalidParameterValueException",
    "InvalidParameterCombination": "InvalidParameterCombinationException",
    "MissingParameter": "MissingRequiredParameterException",
    "InternalServiceError": "InternalServiceFault",
}


class Refused(Exception):
    """An error as CloudWatch answers it."""

    def __init__(self, code, message, status=400):
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


class Silence(Exception):
    """The connection closes without an answer."""


# --- What CloudWatch refuses -------------------------------------------------------------------


def wrong(value, member):
    return Refused("InvalidParameterValue", f"The value {value} for parameter {member} is invalid.")


def check_text(text, member, longest, *, colon=False):
    if not isinstance(text, str) or not 1 <= len(text) <= longest:
        raise wrong(text, member)
    if not text.isascii() or not text.isprintable() or not text.strip():
        raise wrong(text, member)
    if not colon and text.startswith(":"):
        raise wrong(text, member)


def check_number(value, member):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong(value, member)
    if not math.isfinite(value) or abs(value) > MAX_MAGNITUDE:
        raise wrong(value, member)


def check_call(call, now):
    """Raises what CloudWatch would answer to PutMetricData."""
    namespace = call.get("Namespace")
    check_text(namespace, "Namespace", 255)
    if namespace.startswith("AWS/"):
        raise wrong(namespace, "Namespace")
    datums = call.get("MetricData") or []
    if not datums:
        raise Refused("MissingParameter", "The parameter MetricData is required.")
    if len(datums) > MAX_DATUMS:
        raise Refused(
            "InvalidParameterValue",
            f"The collection MetricData must not have a size greater than {MAX_DATUMS}.",
        )
    for index, datum in enumerate(datums, 1):
        check_datum(datum, f"MetricData.member.{index}", now)


def check_datum(datum, at, now):
    check_text(datum.get("MetricName"), f"{at}.MetricName", 255)
    dimensions = datum.get("Dimensions") or []
    if len(dimensions) > MAX_DIMENSIONS:
        raise wrong(len(dimensions), f"{at}.Dimensions")
    names = [dimension.get("Name") for dimension in dimensions]
    if len(set(names)) != len(names):
        raise wrong(names, f"{at}.Dimensions")
    for index, dimension in enumerate(dimensions, 1):
        member = f"{at}.Dimensions.member.{index}"
        check_text(dimension.get("Name"), f"{member}.Name", 255)
        check_text(dimension.get("Value"), f"{member}.Value", 1_024, colon=True)
    if datum.get("Unit", "None") not in UNITS:
        raise wrong(datum["Unit"], f"{at}.Unit")
    if datum.get("StorageResolution", 60) not in (1, 60):
        raise wrong(datum["StorageResolution"], f"{at}.StorageResolution")
    if "Timestamp" in datum:
        age = now - seconds(datum["Timestamp"])
        if age > OLDEST or age < -FURTHEST:
            raise wrong(datum["Timestamp"], f"{at}.Timestamp")
    check_values(datum, at)


def check_values(datum, at):
    has = {name for name in ("Value", "Values", "StatisticValues") if name in datum}
    if not has:
        raise Refused("MissingParameter", f"{at} has no value.")
    if "Value" in has and len(has) > 1:
        raise Refused(
            "InvalidParameterCombination", f"The parameters {at}.Value and others are exclusive."
        )
    if "Value" in has:
        check_number(datum["Value"], f"{at}.Value")
    values = datum.get("Values", [])
    if "Values" in has and not 1 <= len(values) <= MAX_VALUES:
        raise wrong(len(values), f"{at}.Values")
    if len(set(values)) != len(values):
        raise wrong(values, f"{at}.Values")
    for value in values:
        check_number(value, f"{at}.Values")
    counts = datum.get("Counts")
    if counts is not None:
        if len(counts) != len(values):
            raise wrong(len(counts), f"{at}.Counts")
        for count in counts:
            check_number(count, f"{at}.Counts")
            if count <= 0:
                raise wrong(count, f"{at}.Counts")
    if "StatisticValues" in has:
        statistics = datum["StatisticValues"]
        for name in ("SampleCount", "Sum", "Minimum", "Maximum"):
            if name not in statistics:
                raise Refused("MissingParameter", f"The parameter {at}.{name} is required.")
            check_number(statistics[name], f"{at}.{name}")


# --- Faults and the record ---------------------------------------------------------------------


class Record:
    def __init__(self):
        self.lock = threading.Lock()
        self.faults, self.calls, self.datums = [], [], []

    def fault_for(self, operation, datums):
        """The oldest fault that concerns this call; it is used up by one."""
        with self.lock:
            for fault in self.faults:
                if fault.get("operation", "PutMetricData") == operation and concerns(fault, datums):
                    if fault.get("count", 1) is not None:
                        fault["count"] = fault.get("count", 1) - 1
                        if fault["count"] <= 0:
                            self.faults.remove(fault)
                    return fault
        return None


def concerns(fault, datums):
    if fault["kind"] == "too_large":
        return len(datums) > fault["most"]
    if fault["kind"] != "reject":
        return True
    return place_of_rejected(fault, datums) is not None


def place_of_rejected(fault, datums):
    for index, datum in enumerate(datums, 1):
        minute = fault.get("minute")
        if datum.get("MetricName") == fault["metric"]:
            if minute is None or seconds(datum["Timestamp"]) // 60 == minute:
                return index
    return None


RECORD = Record()
MOTO = None


def play(fault, datums):
    kind = fault["kind"]
    if kind == "throttle":
        raise Refused("Throttling", "Rate exceeded")
    if kind == "fault":
        raise Refused("InternalServiceError", "An internal error occurred.", 500)
    if kind == "busy":
        raise Refused("ServiceUnavailable", "Come again later.", 503)
    if kind == "deny":
        raise Refused("AccessDenied", "User is not authorized to perform this action", 403)
    if kind == "expired":
        raise Refused("ExpiredToken", "The security token included in the request is expired", 403)
    if kind == "too_large":
        raise Refused("RequestEntityTooLarge", "The request is too large", 413)
    if kind == "reject":
        place = place_of_rejected(fault, datums)
        raise wrong("?", f"MetricData.member.{place}.Value")
    if kind == "hang":
        time.sleep(fault.get("seconds", 60))
        raise Silence
    if kind != "drop":
        raise Refused("ValidationError", f"no such fault: {kind}")


# --- Translation -------------------------------------------------------------------------------


def seconds(timestamp):
    if isinstance(timestamp, datetime.datetime):
        return timestamp.timestamp()
    return float(timestamp)


def to_json(value):
    """What CBOR holds, as moto takes it."""
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    return value


def to_cbor(value, key=""):
    """What moto answers, as the SDK takes it: times are tagged."""
    if isinstance(value, dict):
        return {name: to_cbor(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [to_cbor(item, key) for item in value]
    if value is not None and key.endswith(("Timestamp", "Timestamps", "LastModified")):
        if isinstance(value, str):
            value = datetime.datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
        return cbor2.CBORTag(1, float(value))
    return value


def ask_moto(method, path, headers, body):
    host, port = MOTO
    connection = http.client.HTTPConnection(host, port, timeout=60)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def call_moto(operation, members, authorization):
    headers = {
        "content-type": "application/x-amz-json-1.0",
        "x-amz-target": f"{SERVICE}.{operation}",
        "authorization": authorization,
    }
    status, answered, body = ask_moto("POST", "/", headers, json.dumps(to_json(members)))
    try:
        answer = json.loads(body) if body else {}
    except ValueError:
        raise Refused("NotImplemented", f"moto cannot {operation}", 501) from None
    if status >= 400:
        shape = answer.get("__type", "").rsplit("#", 1)[-1]
        code = answered.get("x-amzn-query-error", shape).split(";")[0]
        raise Refused(code, answer.get("message") or answer.get("Message") or "", status)
    return answer


def keep(call, members):
    for datum in members["MetricData"]:
        dimensions = datum.get("Dimensions") or []
        RECORD.datums.append(
            {
                "call": call["number"],
                "namespace": members["Namespace"],
                "metric": datum["MetricName"],
                "dimensions": {it["Name"]: it["Value"] for it in dimensions},
                "minute": int(seconds(datum["Timestamp"]) // 60),
                "unit": datum.get("Unit"),
                "resolution": datum.get("StorageResolution"),
                "value": datum.get("Value"),
                "values": datum.get("Values"),
                "counts": datum.get("Counts"),
                "statistics": datum.get("StatisticValues"),
            }
        )


# --- The front ---------------------------------------------------------------------------------


class Front(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle_any(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        if self.path.startswith("/_"):
            return self.tell(body)
        operation = PATH.match(self.path)
        if operation:
            return self.cloudwatch(operation[1], body)
        # Hop by hop, and set anew.
        left_out = {"connection", "content-length", "transfer-encoding"}
        headers = {k: v for k, v in self.headers.items() if k.lower() not in left_out}
        status, headers, body = ask_moto(self.command, self.path, headers, body)
        kept = {k: v for k, v in headers.items() if k.lower() not in left_out | {"date", "server"}}
        return self.answer(status, kept, body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any

    def answer(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def tell(self, body):
        kept = {"/_faults": RECORD.faults, "/_calls": RECORD.calls, "/_datums": RECORD.datums}
        shown = kept.get(self.path)
        status = 200 if shown is not None else 404
        if shown is not None and self.command == "POST":
            shown.append(json.loads(body))
        if shown is not None and self.command == "DELETE":
            shown.clear()
        answer = json.dumps(shown).encode()
        self.answer(status, {"content-type": "application/json"}, answer)

    def cloudwatch(self, operation, body):
        packed = self.headers.get("content-encoding") == "gzip"
        call = {
            "operation": operation,
            "datums": None,
            "bytes": len(body),
            "packed": packed,
            "status": None,
            "code": None,
            "fault": None,
            "stored": False,
        }
        with RECORD.lock:
            call["number"] = len(RECORD.calls)
            RECORD.calls.append(call)
        headers = {"smithy-protocol": "rpc-v2-cbor", "content-type": "application/cbor"}
        try:
            answer = to_cbor(self.serve(call, gzip.decompress(body) if packed else body))
            call["status"] = 200
        except Refused as refused:
            call["status"], call["code"] = refused.status, refused.code
            side = "Receiver" if refused.status >= 500 else "Sender"
            headers["x-amzn-query-error"] = f"{refused.code};{side}"
            shape = SHAPES.get(refused.code, refused.code)
            answer = {"__type": f"com.amazonaws.cloudwatch#{shape}", "message": refused.message}
        except Silence:
            self.close_connection = True
            self.connection.close()
            return
        self.answer(call["status"], headers, cbor2.dumps(answer))

    def serve(self, call, body):
        members = cbor2.loads(body)
        is_put = call["operation"] == "PutMetricData"
        datums = members.get("MetricData") or []
        call["unpacked"] = len(body)
        if is_put:
            call["datums"] = len(datums)
        fault = RECORD.fault_for(call["operation"], datums)
        if fault:
            call["fault"] = fault["kind"]
            play(fault, datums)
        if is_put:
            if len(body) > MAX_BODY:
                raise Refused("RequestEntityTooLarge", "The request is too large", 413)
            check_call(members, time.time())
        answer = call_moto(call["operation"], members, self.headers.get("authorization", ""))
        if is_put:
            with RECORD.lock:
                keep(call, members)
                call["stored"] = True
        if fault:
            time.sleep(fault.get("seconds", 0))
            raise Silence
        return answer


def main():
    global MOTO
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    MOTO = moto.get_host_and_port()
    front = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Front)
    front.daemon_threads = True
    print(f"listening http://127.0.0.1:{front.server_address[1]}", flush=True)
    front.serve_forever()


if __name__ == "__main__":
    main()
