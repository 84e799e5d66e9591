"""Hints between replicas: what one has committed, the others hear of. Whoever waits for a hint also looks now and then.

The notifier sends the signals of this replica's commits after the commit and never in it. A NOTIFY takes a lock of the
whole cluster before its transaction is flushed, and holds it until the end: transactions that notify commit one at a
time. So signals gather here and go out on one connection, in a transaction that flushes nothing: at once if nothing was
sent just before, else together with whatever was committed meanwhile.

Signals that can't be sent are dropped, and the other replicas are told to read everything anew; so does the listener
after a lost connection.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from scheduler_svc.domain.errors import StoreUnavailable
from scheduler_svc.runtime.loops import Supervision, ThreadService
from scheduler_svc.runtime.signals import CommitSignals, parse

RETRY_INTERVAL = 0.5

_log = structlog.get_logger(__name__)


class Notifications(Protocol):
    """See `database/notifications.py`."""

    def open(self) -> None: ...
    def wait(self) -> list[str]: ...
    def pause(self, seconds: float) -> None: ...
    def interrupt(self) -> None: ...
    def close(self) -> None: ...


class Listener(ThreadService):
    """Calls back on the event loop."""

    def __init__(
        self,
        notifications: Notifications,
        origin: str,
        *,
        on_signals: Callable[[CommitSignals], None],
        on_connected: Callable[[], None],
        supervision: Supervision | None = None,
    ) -> None:
        """`on_signals` gets the signals of replicas other than `origin`.

        `on_connected` is called after each connect: signals may have been missed before.
        """
        super().__init__("listener", supervision)
        self._notifications = notifications
        self._origin = origin
        self._on_signals = on_signals
        self._on_connected = on_connected
        self._connected = False

    def run_once(self) -> None:
        """Waits for notifications and passes them on; connects first if needed."""
        try:
            if not self._connected:
                self._notifications.open()
                self._connected = True
                self._call_soon(self._on_connected)
            for payload in self._notifications.wait():
                origin, signals = parse(payload)
                if origin != self._origin:
                    self._call_soon(self._on_signals, signals)
        except StoreUnavailable:
            self._connected = False
            _log.warning("the listener lost the database; it tries again", action="listen")
            self._notifications.pause(RETRY_INTERVAL)

    def _serve(self) -> None:
        try:
            super()._serve()
        finally:
            self._connected = False
            self._notifications.close()

    def _interrupt(self) -> None:
        self._notifications.interrupt()


SEND_INTERVAL = 0.005
"""Seconds between two rounds: what is committed meanwhile is sent together."""
SEND_RETRY_INTERVAL = 0.5
"""Seconds until the next try while the database is away."""
MAX_BACKLOG = 50_000
"""Items that wait to be sent; beyond it they are dropped."""


class NotifySender(Protocol):
    """See `database/notifications.py`."""

    def send(self, payloads: Sequence[str]) -> None: ...
    def close(self) -> None: ...


class Notifier(ThreadService):
    """Any thread may call `notify` and `notify_missed`, also before the start."""

    def __init__(self, sender: NotifySender, origin: str, supervision: Supervision | None = None) -> None:
        super().__init__("notifier", supervision)
        self._sender = sender
        self._origin = origin
        self._lock = threading.Lock()
        self._waiting = CommitSignals()
        self._wake = threading.Event()

    def notify(self, signals: CommitSignals) -> None:
        with self._lock:
            self._waiting.add(signals)
            if self._waiting.items > MAX_BACKLOG:
                self._waiting = CommitSignals.reread_all()
        self._wake.set()

    def notify_missed(self) -> None:
        """Tells the others that signals were missed: something may be committed of which nothing is known."""
        with self._lock:
            self._waiting = CommitSignals.reread_all()
        self._wake.set()

    def run_once(self) -> None:
        self._wake.wait()
        self._wake.clear()
        self._stopping.wait(SEND_INTERVAL if self._send() else SEND_RETRY_INTERVAL)

    def _serve(self) -> None:
        super()._serve()
        self._send()
        self._sender.close()

    def _interrupt(self) -> None:
        self._wake.set()

    def _send(self) -> bool:
        """Sends what waits; returns False if the database is away."""
        with self._lock:
            signals, self._waiting = self._waiting, CommitSignals()
        if not (signals.for_others or signals.moved):
            return True
        try:
            self._sender.send(signals.payloads(self._origin))
        except StoreUnavailable:
            if not signals.missed:
                _log.warning("the other replicas can't be notified; later they will read anew", action="notify")
            self.notify_missed()
            return False
        except Exception:
            self.notify_missed()
            raise
        return True
