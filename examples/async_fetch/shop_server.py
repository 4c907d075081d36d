"""Shops for the tests: HTTP servers on this machine that answer as a test wants."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias

Answer: TypeAlias = Callable[[BaseHTTPRequestHandler], str | None]


@contextmanager
def shop(answer: Answer) -> Iterator[str]:
    """A server on a free port, while the block lasts.

    Args:
        answer: called on a thread per connection; what it returns is the body, None is a 404.

    Yields:
        Its address, HOST:PORT.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            text = answer(self)
            self.send_response(200 if text is not None else 404)
            self.send_header("Content-Length", str(len(text or "")))
            self.end_headers()
            self.wfile.write((text or "").encode())

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
