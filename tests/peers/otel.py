"""Sends what Claude Code sends, by the OpenTelemetry SDK.

usage: otel.py http|grpc ENDPOINT delta|cumulative SESSION

Two requests are metered (input 100 + 50, output 10 + 5); the event of the second one is lost.
"""

import sys
import time

from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import Counter, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource

protocol, endpoint, temporality, session = sys.argv[1:]

if protocol == "http":
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import (
        OTLPMetricExporter,
    )

    metrics_to = {
        "endpoint": endpoint + "/v1/metrics",
        "compression": Compression.Gzip,
    }
    logs_to = {"endpoint": endpoint + "/v1/logs"}
else:
    from grpc import Compression
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
        OTLPMetricExporter,
    )

    metrics_to = {
        "endpoint": endpoint,
        "insecure": True,
        "compression": Compression.Gzip,
    }
    logs_to = {"endpoint": endpoint, "insecure": True}

preferred = {
    "delta": AggregationTemporality.DELTA,
    "cumulative": AggregationTemporality.CUMULATIVE,
}
resource = Resource.create({"service.name": "claude-code", "service.version": "2.1.197"})
who = {
    "session.id": session,
    "user.id": "0a1b2c3d4e5f",
    "user.email": "alice@example.com",
    "team": "payments",
    "model": "claude-sonnet-4-6",
}

exporter = OTLPMetricExporter(
    preferred_temporality={Counter: preferred[temporality]}, **metrics_to
)
reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
meters = MeterProvider([reader], resource)
meter = meters.get_meter("com.anthropic.claude_code")
tokens = meter.create_counter("claude_code.token.usage", unit="tokens")
loggers = LoggerProvider(resource)
loggers.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(**logs_to)))
logger = loggers.get_logger("com.anthropic.claude_code.events")

for number, (read, written) in enumerate([(100, 10), (50, 5)]):
    tokens.add(read, {**who, "type": "input"})
    tokens.add(written, {**who, "type": "output"})
    if number == 0:
        event = {
            "event.name": "api_request",
            "request_id": "req_" + session,
            "input_tokens": read,
            "output_tokens": str(written),
            "cache_read_tokens": 0,
            "cache_creation_tokens": 0.0,
            "duration_ms": 12.5,
        }
        logger.emit(
            LogRecord(
                timestamp=time.time_ns(),
                body="claude_code.api_request",
                attributes={**who, **event},
            )
        )
    if not meters.force_flush():
        sys.exit("the metrics were not taken")

meters.shutdown()
if not loggers.force_flush():
    sys.exit("the events were not taken")
loggers.shutdown()
