"""A real HTTP server on loopback that receives webhooks, and answers as a test wants."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook


@dataclass
class Receiver:
    """What was received, and how to answer.

    Attributes:
        url: Where it listens.
        answers: Statuses of the next responses; 204 when there is none left.
        headers: Headers of every response.
        requests: Headers and body of every request.
        released: A request is answered once this is set.
    """

    url: str
    answers: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def verified(self, secret: str) -> list[dict[str, Any]]:
        """The messages, after checking every signature as a receiver would."""
        return [Webhook(secret).verify(body, headers) for headers, body in self.requests]

    @property
    def ids(self) -> list[str]:
        """The ids of the messages, in order."""
        return [headers["webhook-id"] for headers, _ in self.requests]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver, until the block is left."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.requests.append(({k.lower(): v for k, v in self.headers.items()}, body))
            receiver.released.wait(5)
            self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}/hook")
    receiver.released.set()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
