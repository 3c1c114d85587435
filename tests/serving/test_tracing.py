"""Spans of OpenTelemetry, as a collector on this machine receives them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from servers import command_serving

pytestmark = pytest.mark.export
trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def collector() -> Iterator[tuple[str, list]]:
    """Address of a collector, and the resource spans that it has received."""
    received = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            received.extend(trace_service.ExportTraceServiceRequest.FromString(body).resource_spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()


def test_a_request_has_a_span_below_its_callers_and_one_for_each_phase(bundle, collector):
    url, received = collector
    own = {"OTEL_EXPORTER_OTLP_ENDPOINT": url}
    with command_serving(bundle("qwen3_vl", "assistant"), ["--otel"], os.environ | own) as (child, base, lines):
        body = {"prompt": "Which?", "responses": ["One.", "Two."]}
        headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        assert httpx.post(f"{base}/v1/judge", json=body, headers=headers).status_code == 200
        assert httpx.get(f"{base}/health").status_code == 200
        child.send_signal(signal.SIGTERM)
        child.wait(60)
    end = time.monotonic() + 30
    while not received:
        assert time.monotonic() < end
        time.sleep(0.01)
    (names,) = {
        value.value.string_value for one in received for value in one.resource.attributes if value.key == "service.name"
    }
    assert names == "yoj"
    spans = [span for one in received for scope in one.scope_spans for span in scope.spans]
    assert {span.trace_id.hex() for span in spans} == {TRACE}, [span.name for span in spans]
    whole = next(span for span in spans if span.parent_span_id.hex() == "b7ad6b7169203331")
    assert whole.name == "POST /v1/judge"
    phases = {span.name: span for span in spans if span.parent_span_id == whole.span_id}
    assert phases.keys() == {"prepare", "queue", "engine"}
    assert {value.key: value.value.int_value for value in phases["engine"].attributes}["yoj.responses"] == 2
    assert phases["prepare"].end_time_unix_nano <= phases["queue"].start_time_unix_nano
    assert phases["queue"].end_time_unix_nano == phases["engine"].start_time_unix_nano
    assert any(line.get("trace_id") == TRACE for line in lines)
