"""Whoever answers in the place of the centre: a login page, or receipts for things it never saw."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from typing import Any, Final, Self

from tests.rig.link import Address

ANSWERS: Final = (
    (200, b"<html><title>Welcome to the airport</title></html>"),
    (201, b""),
    (200, b'{"status": "ok"}'),
    (
        201,
        b'{"site": "stranger", "run": "000001abcd", "sequence": 0, "size_bytes": 1,'
        b' "sha256": "%s", "stored_at": "2026-01-01T00:00:00Z"}' % (b"0" * 64),
    ),
)
"""Status and body, in turns."""


class Stranger:
    """An HTTP server on a free port of the loopback that is content with everything."""

    def __init__(self) -> None:
        answers = cycle(ANSWERS)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, body = next(answers)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_PUT = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.address: Address = ("127.0.0.1", self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="stranger", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
