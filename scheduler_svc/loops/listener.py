"""The listener: hears what other replicas committed. A hint each; after an absence everything is looked at anew."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Protocol

import structlog

from scheduler_svc.application.signals import Signals, parse
from scheduler_svc.domain.errors import StoreUnavailable
from scheduler_svc.loops.supervision import Supervision

_RETRY = 0.5
_log = structlog.get_logger(__name__)


class Notifications(Protocol):
    """See `store/notifications.py`."""

    def open(self) -> None: ...
    def wait(self) -> list[str]: ...
    def pause(self, seconds: float) -> None: ...
    def interrupt(self) -> None: ...
    def close(self) -> None: ...


class Listener:
    """One thread; calls back on the event loop."""

    def __init__(
        self,
        notifications: Notifications,
        origin: str,
        *,
        told: Callable[[Signals], None],
        back: Callable[[], None],
        supervision: Supervision | None = None,
    ) -> None:
        """`told` gets another replica's signals; `back` says that some may have been missed."""
        self._supervision = supervision or Supervision()
        self._notifications = notifications
        self._origin = origin
        self._told = told
        self._back = back
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listener")
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Listens from now on; call it on the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Ends at once."""
        if self._loop is None:
            return
        self._stopping.set()
        self._notifications.interrupt()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        self._supervision.run("listener", self._serve, self._stopping)

    def _serve(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    self._notifications.open()
                    self._call(self._back)
                    self._listen()
                except StoreUnavailable:
                    _log.warning("the listener lost the database; it tries again", action="listen")
                    self._notifications.pause(_RETRY)
        finally:
            self._notifications.close()

    def _listen(self) -> None:
        while not self._stopping.is_set():
            for payload in self._notifications.wait():
                origin, signals = parse(payload)
                if origin != self._origin:
                    self._call(self._told, signals)

    def _call(self, callback: Callable[..., None], *args: object) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(callback, *args)
