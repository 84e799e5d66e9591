"""The notifier: tells the other replicas what this one has committed, after the commit and never within it.

A NOTIFY takes a lock of the whole cluster before its transaction is flushed, and holds it until that is over: lanes
that notify would commit one at a time. So what is to be told gathers here, and goes out from one connection, in a
transaction that flushes nothing: at once where nothing was told for a moment, else with whatever was committed since.

What can't be told is dropped, and the others are told to look anew instead. A replica that dies before it has told does
not even do that: who waits for a hint looks by itself, too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Protocol

import structlog

from scheduler_svc.application.signals import Signals
from scheduler_svc.domain.errors import StoreUnavailable
from scheduler_svc.loops.supervision import Supervision

REST = 0.005
"""Seconds between two rounds: what is committed meanwhile is told together."""
RETRY = 0.5
"""Seconds until the next try while the database is away."""
BACKLOG = 50_000
"""Items that wait to be told; beyond it they are dropped."""

_log = structlog.get_logger(__name__)


class Channel(Protocol):
    """See `store/notifications.py`."""

    def send(self, payloads: Sequence[str]) -> None: ...
    def close(self) -> None: ...


class Notifier:
    """One thread; any thread may tell it something."""

    def __init__(self, channel: Channel, origin: str, supervision: Supervision | None = None) -> None:
        """`origin` names this replica."""
        self._supervision = supervision or Supervision()
        self._channel = channel
        self._origin = origin
        self._lock = threading.Lock()
        self._waiting = Signals()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notifier")

    def start(self) -> None:
        """Sends from now on."""
        self._thread.start()

    async def stop(self) -> None:
        """Sends what waits, if it can, and ends."""
        self._stopping.set()
        self._wake.set()
        await asyncio.to_thread(self._thread.join)

    def tell(self, signals: Signals) -> None:
        """These are of a transaction that is committed."""
        with self._lock:
            self._waiting.add(signals)
            if self._waiting.items > BACKLOG:
                self._waiting = Signals.look_anew()
        self._wake.set()

    def missed(self) -> None:
        """Something may have been committed that nobody can be told of."""
        with self._lock:
            self._waiting = Signals.look_anew()
        self._wake.set()

    def _run(self) -> None:
        self._supervision.run(self._thread.name, self._serve, self._stopping)

    def _serve(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            self._stopping.wait(REST if self._send() else RETRY)
        self._send()
        self._channel.close()

    def _send(self) -> bool:
        """Tells what waits; whether that went well."""
        with self._lock:
            told, self._waiting = self._waiting, Signals()
        if not (told.for_others or told.moved):
            return True
        try:
            self._channel.send(told.payloads(self._origin))
        except StoreUnavailable:
            if not told.missed:
                _log.warning("the other replicas can't be told; they will be told to look anew", action="notify")
            self.missed()
            return False
        except Exception:
            self.missed()
            raise
        return True
