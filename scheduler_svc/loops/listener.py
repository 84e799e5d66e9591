"""The listener: receives what other replicas committed.

Each notification is a hint. After a lost connection everything is read anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import structlog

from scheduler_svc.application.signals import CommitSignals, parse
from scheduler_svc.domain.errors import StoreUnavailable
from scheduler_svc.loops.service import ThreadService
from scheduler_svc.loops.supervision import Supervision

RETRY_INTERVAL = 0.5

_log = structlog.get_logger(__name__)


class Notifications(Protocol):
    """See `store/engine/notifications.py`."""

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
