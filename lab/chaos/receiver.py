"""The receiver of a campaign's webhook: refuses some deliveries, and journals what it was told and how it answered.

Beside `load`; nothing hurts it.
"""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import standardwebhooks

from contentgen import ContentGenerationClient, EventType
from lab.chaos.evidence import Received, Subscribed
from lab.chaos.journals import Appender

NETWORK = "127.0.0.1"
"""What `CONTENTGEN_WEBHOOK_ALLOW` has to name."""
_EVENT_TYPES: tuple[EventType, ...] = ("task.ended", "content.pending_review", "content.approved")
_OK, _UNAVAILABLE = 204, 503


class Receiver:
    """A server with a thread a request, from `start` to `stop`."""

    def __init__(self, journal: Appender, refuses: Iterator[bool]) -> None:
        """`refuses` says of one request after the other whether it is answered with an error."""
        self.wrong: list[str] = []
        """Requests that are not signed as they should be."""
        self.patient = False
        """Whether it accepts everything from now on."""
        self._journal = journal
        self._lock = threading.Lock()
        self._refuses = refuses
        self._signer: standardwebhooks.Webhook
        self._server = http.server.ThreadingHTTPServer((NETWORK, 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, name="receiver")

    def start(self, target: str) -> Subscribed:
        """Begins, and creates the webhook, for all accounts."""
        self._thread.start()
        with ContentGenerationClient(target) as client:
            webhook = client.create_webhook(f"http://{NETWORK}:{self._server.server_port}/", _EVENT_TYPES)
        self._signer = standardwebhooks.Webhook(webhook["secret"])
        return Subscribed(webhook["webhook_id"])

    def stop(self) -> None:
        """Idempotent."""
        if self._thread.ident is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """Returns the status that answers a request."""
        try:
            message = self._signer.verify(body, headers)
        except standardwebhooks.WebhookVerificationError as error:
            self.wrong.append(f"a delivery was not signed as it should be: {error}: {headers}")
            return _UNAVAILABLE
        with self._lock:
            accepted = not next(self._refuses) or self.patient
        data = message["data"]
        event_id = headers["webhook-id"]
        self._journal.append(Received(event_id, message["type"], data["task_id"], data["status"], accepted))
        return _OK if accepted else _UNAVAILABLE


def _handler(receiver: Receiver) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(receiver.take({name.lower(): value for name, value in self.headers.items()}, body))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """The journal has it."""

    return Handler
