"""A web server on 127.0.0.1 that gives files, and fails as it is told to."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ETAG = '"one"'


@dataclass
class Site:
    """What a server gives, and what it was asked for.

    Attributes:
        files: contents by path, "/host/name".
        etag: of every file; None: the server names no version.
        ranges: whether a part of a file can be asked for.
        length: whether the server says how long a file is.
        kind: Content-Type.
        break_after: bytes after which every connection breaks.
        answers: statuses of the next answers, which are errors.
        redirects: other addresses by path.
        delay: seconds before each block of 1000 bytes.
        on_request: is called before each answer.
        requests: the paths that were asked for, with the range.

    """

    files: dict[str, bytes] = field(default_factory=dict)
    etag: str | None = ETAG
    ranges: bool = True
    ignores_if_range: bool = False
    length: bool = True
    kind: str = "application/octet-stream"
    break_after: int | None = None
    answers: list[int] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    on_request: Callable[[], None] = lambda: None
    requests: list[tuple[str, str]] = field(default_factory=list)
    address: str = ""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    site: Site

    def do_GET(self) -> None:
        site = self.site
        site.requests.append((self.path, self.headers.get("Range", "")))
        site.on_request()
        path = self.path.partition("?")[0]
        if site.answers:
            self.fail(site.answers.pop(0))
        elif path in site.redirects:
            self.send_response(302)
            self.send_header("Location", site.redirects[path])
            self.end_headers()
        elif path in site.files:
            with contextlib.suppress(ConnectionError):
                self.give(site.files[path])
        else:
            self.fail(404)

    def fail(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def give(self, content: bytes) -> None:
        site = self.site
        start = self.start_of(len(content))
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", site.kind)
        if site.etag:
            self.send_header("ETag", site.etag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if site.length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.send_blocks(content[start:])

    def start_of(self, length: int) -> int:
        asked = self.headers.get("Range")
        same = self.site.ignores_if_range or self.headers.get("If-Range") == self.site.etag
        if not (asked and self.site.ranges and same):
            return 0
        return min(int(asked.removeprefix("bytes=").rstrip("-")), length - 1)

    def send_blocks(self, content: bytes) -> None:
        site = self.site
        sent = memoryview(content)[: site.break_after]
        block = 1000 if site.delay else 1 << 16
        for start in range(0, len(sent), block):
            time.sleep(site.delay)
            self.wfile.write(sent[start : start + block])
        if site.break_after is not None and len(content) > site.break_after:
            self.close_connection = True

    def log_message(self, *arguments: Any) -> None:
        """Print nothing."""


@contextlib.contextmanager
def serving(**options: Any) -> Iterator[Site]:
    """Serve until the block ends."""
    site = Site(**options)
    handler = type("SiteHandler", (Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
