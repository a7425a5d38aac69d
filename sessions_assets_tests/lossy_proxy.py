"""An HTTP proxy in front of a real S3 store that loses the answers of chosen PUTs after the store has taken them.

Its client must be another process: delta-rs holds Python's lock while it waits for an answer.
"""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

_OF_ONE_CONNECTION = {"connection", "expect", "keep-alive", "transfer-encoding"}


class LossyProxy(ThreadingHTTPServer):
    """Forward every request to a store, and lose the answers of some PUTs.

    Args:
        store: host and port of the store.
        lost: pattern of the paths whose PUTs lose their answers.
        times: how many answers each of these paths loses.
        before: called with the path before the first PUT of each of these paths is forwarded.
    """

    daemon_threads = True

    def __init__(self, store: str, lost: str, times: int = 1, before: Callable[[str], object] = lambda _: None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.store, self.endpoint = store, f"http://127.0.0.1:{self.server_port}"
        self.answers: dict[str, list[int]] = {}
        """What the store answered to each PUT of these paths, lost answers first."""
        self._lost, self._times, self._before, self._lock = re.compile(lost), times, before, Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as in the base class
        """Print nothing of a client that has closed its connection early."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @contextmanager
    def running(self) -> Iterator["LossyProxy"]:
        """Serve as long as the context lasts."""
        serving = Thread(target=self.serve_forever, daemon=True)
        with self:
            serving.start()
            yield self
            self.shutdown()

    def forward(self, request: "_Handler", connection: HTTPConnection) -> tuple[HTTPResponse, bytes, bool]:
        """Send a request to the store and return its answer, and whether it is lost."""
        path = request.path.split("?")[0]
        is_chosen = request.command == "PUT" and self._lost.search(path) is not None
        if is_chosen and path not in self.answers:
            self._before(path)
        length = int(request.headers.get("Content-Length", 0))
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OF_ONE_CONNECTION}
        connection.request(request.command, request.path, request.rfile.read(length) if length else None, headers)
        answer = connection.getresponse()
        content = answer.read()
        if not is_chosen:
            return answer, content, False
        with self._lock:
            seen = self.answers.setdefault(path, [])
            seen.append(answer.status)
            return answer, content, len(seen) <= self._times


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LossyProxy

    def _pass_on(self) -> None:
        """Forward the request; if its answer is lost, only close the connection."""
        with closing(HTTPConnection(self.server.store, timeout=60)) as connection:
            answer, content, is_lost = self.server.forward(self, connection)
        if is_lost:
            self.close_connection = True
            return
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _OF_ONE_CONNECTION and (name.lower() != "content-length" or not content):
                self.send_header(name, value)
        if content:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815 - the names that the base class looks for

    def log_message(self, *_: Any) -> None:  # noqa: ANN401 - as in the base class
        """Print nothing."""
