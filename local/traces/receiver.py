"""A receiver of OTLP over HTTP, in a thread."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from local.traces.spans import Exported, Line, Point, read, read_lines, read_metrics

Take = Callable[[Sequence[Exported]], None]


class Receiver:
    """Listens on 127.0.0.1 while it is entered, and keeps what comes; ``take`` is called with each request's spans."""

    def __init__(self, port: int = 0, take: Take = lambda spans: None) -> None:
        self.spans: list[Exported] = []
        """All that came, in order."""

        self.points: list[Point] = []
        """Metrics as they came last: sums are since the beginning of the process."""

        self.lines: list[Line] = []
        """Lines of the log, in order."""

        self._take = take
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """What `OTEL_EXPORTER_OTLP_ENDPOINT` must be."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def took(self, spans: Sequence[Exported]) -> None:
        """Keep them."""
        with self._lock:
            self.spans += spans
        self._take(spans)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(200)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                receiver.took(read(body))
            if self.path == "/v1/metrics":
                receiver.points = read_metrics(body)
            if self.path == "/v1/logs":
                receiver.lines += read_lines(body)
            self._answer(200)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Requests are not logged."""

    return Handler
