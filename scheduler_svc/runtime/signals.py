"""The signals of a committed transaction: this replica gets them at once, the others by the notifier.

All are hints: what matters is in rows, and whoever misses a signal reads the rows a little later.

The notifier sends the signals of this replica's commits after the commit and never in it. A NOTIFY takes a lock of the
whole cluster before its transaction is flushed, and holds it until the end: transactions that notify commit one at a
time. So signals gather here and go out on one connection, in a transaction that flushes nothing: at once if nothing was
sent just before, else together with whatever was committed meanwhile.

Signals that can't be sent are dropped, and the other replicas are told to read everything anew; so does the listener
after a lost connection.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from scheduler_svc.domain.errors import StoreUnavailable
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lifecycle import Reason, Status
from scheduler_svc.runtime.loops import Supervision, ThreadService

if TYPE_CHECKING:
    from scheduler_svc.database.notifications import PgNotifications, PgNotifier


class StoppedAttempt(NamedTuple):
    """An attempt that ended without a result, why, and its task's status after it."""

    ref: LeaseRef
    worker_id: str
    reason: str
    status: Status
    trace_id: str = ""
    """Empty if the task belongs to no trace."""


class Printed(NamedTuple):
    """What a CLI printed next, for a tail of a caller somewhere."""

    tail_id: str
    stderr: bool
    offset: int
    size: int
    text: str
    ended: bool


@dataclass(slots=True)
class CommitSignals:
    """Collected while a transaction runs. Fields in `_FLAGS` and `_LISTS` are sent to other replicas by these names."""

    ready: bool = False
    due: bool = False
    ended: list[int] = field(default_factory=list)
    cancelled: list[tuple[str, str, str]] = field(default_factory=list)
    drained: list[str] = field(default_factory=list)
    resized: list[tuple[str, int]] = field(default_factory=list)
    polled: list[tuple[str, int]] = field(default_factory=list)
    answered: list[tuple[str, int]] = field(default_factory=list)
    tailed: list[tuple[str, str, str, int, int]] = field(default_factory=list)
    """Workers that are asked for output: (worker_id, tail_id, lease_id, offset of stdout, of stderr)."""
    printed: list[Printed] = field(default_factory=list)
    moved: bool = False
    """A task moved. Sent only while another replica has watchers; no reason to send by itself."""
    watching: bool = False
    """This replica has watchers, and wants signals of moves."""
    limits: bool = False
    admit: set[int] = field(default_factory=set)
    """Accounts to settle, of which waiting tasks may get a tag. Not sent: this replica settles them."""
    admit_later: dict[int, float] = field(default_factory=dict)
    """Accounts to settle after so many seconds: a minute after starts of attempts, as many more are allowed."""
    released: set[int] = field(default_factory=set)
    """Accounts whose leases ended: those with a limit are to be settled."""
    stopped: list[StoppedAttempt] = field(default_factory=list)
    """For this replica's log. Leases released before their CLI started are left out."""
    schedules: bool = False
    """A schedule has another next tick."""
    maintenance: bool = False
    """Maintenance was turned on or off."""
    missed: bool = False
    """Signals were dropped before they were sent: read all rows anew."""
    webhooks: bool = False
    """Webhooks were created, changed or deleted."""
    selectors: bool = False
    """There are other worker selectors than before."""
    deliveries: bool = False
    """There are deliveries to send. Not sent: this replica sends them."""
    spent: bool = False
    """Contents have cost something. Not sent: this replica looks at budgets. No reason to send."""
    moves: Counter[Reason] = field(default_factory=Counter)
    """How many moves were made, for this replica's metrics. No reason to send."""
    endings: Mapping[Status, list[int]] = field(default_factory=dict)
    """The keys of tasks that ended, by the state that they have now, for these metrics."""

    @classmethod
    def reread_all(cls) -> CommitSignals:
        """Returns a substitute for dropped signals. A replica of the version before follows the other flags."""
        return cls(
            ready=True, due=True, moved=True, limits=True, schedules=True, webhooks=True, selectors=True, missed=True
        )

    def __bool__(self) -> bool:
        local_work = self.admit or self.admit_later or self.released or self.stopped or self.deliveries
        return self.for_others or bool(local_work)

    @property
    def for_others(self) -> bool:
        """Whether other replicas need these signals, even without watchers."""
        return any(getattr(self, name) for name in _REASONS)

    @property
    def items(self) -> int:
        return sum(len(getattr(self, kind)) for kind in _LISTS)

    def add(self, later: CommitSignals) -> None:
        """Adds what is sent of a later transaction."""
        for flag in _FLAGS:
            if getattr(later, flag):
                setattr(self, flag, True)
        for kind in _LISTS:
            getattr(self, kind).extend(getattr(later, kind))

    def payloads(self, origin: str) -> list[str]:
        """Returns what is sent as few texts of less than 8,000 bytes; `origin` names this replica."""
        head = {"from": origin} | {name: getattr(self, name) for name in _FLAGS} | dict.fromkeys(_LISTS, ())
        items = [(kind, item) for kind in _LISTS for item in getattr(self, kind)]
        return [json.dumps(head | part, separators=(",", ":"), ensure_ascii=False) for part in _packed(items) or [{}]]


_FLAGS = (
    *("ready", "due", "moved", "watching", "limits", "schedules", "webhooks", "selectors", "maintenance", "missed"),
)
_LISTS = ("ended", "cancelled", "drained", "resized", "polled", "answered", "tailed", "printed")
_REASONS = tuple(name for name in (*_FLAGS, *_LISTS) if name not in {"moved", "missed"})
"""What is worth sending by itself."""
_MAX_ITEM_BYTES = 7_000
"""For the items of a text. An item of output has less than 6,200 bytes, any other less than 1,400: a worker id of 200
control characters takes 1,200."""
_NUMBER_BYTES = 20


def _packed(items: Iterable[tuple[str, object]]) -> list[dict[str, list[object]]]:
    """Groups the items by their lists, in parts as large as a text may be."""
    parts: list[dict[str, list[object]]] = []
    left = 0
    for kind, item in items:
        size = _NUMBER_BYTES if isinstance(item, int) else len(json.dumps(item, ensure_ascii=False).encode())
        if size > left:
            parts.append({})
            left = _MAX_ITEM_BYTES
        parts[-1].setdefault(kind, []).append(item)
        left -= size
    return parts


def parse(payload: str) -> tuple[str, CommitSignals]:
    fields = json.loads(payload)
    fields.setdefault("moved", True)  # a replica of the version before does not send it
    values: dict[str, Any] = {name: fields.get(name, False) for name in _FLAGS}
    for kind in _LISTS:
        values[kind] = [tuple(item) if isinstance(item, list) else item for item in fields.get(kind, ())]
    values["printed"] = [Printed(*item) for item in values["printed"]]
    return fields["from"], CommitSignals(**values)


# Hints between replicas: what one has committed, the others hear of. Whoever waits for a hint also looks now and then.


RETRY_INTERVAL = 0.5
_log = structlog.get_logger(__name__)


class Listener(ThreadService):
    """Calls back on the event loop."""

    def __init__(
        self,
        notifications: PgNotifications,
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


class Notifier(ThreadService):
    """Any thread may call `notify` and `notify_missed`, also before the start."""

    def __init__(self, sender: PgNotifier, origin: str, supervision: Supervision | None = None) -> None:
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
