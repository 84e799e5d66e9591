"""Routes the signals of committed transactions, of this replica and of the others, to whatever they wake.

A hub by design: the one place that knows who wakes whom. Work says in its signals what has happened, not whom to
wake, and the loops know nothing of each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from scheduler_svc.accounts.loop import BudgetWatch
from scheduler_svc.dispatch.loop import Admission, Dispatcher
from scheduler_svc.dispatch.streams import CancelLease, DrainOrder, PollOrder, ResizeOrder, Streams
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.replica.timed_loops import FloorLoop, Housekeeping
from scheduler_svc.runtime.loops import Periodic
from scheduler_svc.runtime.signals import CommitSignals, Notifier, StoppedAttempt
from scheduler_svc.tasks.tails import Tails
from scheduler_svc.tasks.waits import PollWaiters, Waiters
from scheduler_svc.watch.feed import ChangeFeed, WatchInterest
from scheduler_svc.webhooks.loop import DeliveryLoop

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SignalRouter:
    """Lives on the event loop, but for `committed`."""

    loop: asyncio.AbstractEventLoop
    interest: WatchInterest
    notifier: Notifier
    dispatcher: Dispatcher
    admission: Admission
    due: Periodic
    expiry: Periodic
    schedules: Periodic
    maintenance: Periodic
    budgets: BudgetWatch
    move_counters: Sequence[Housekeeping | FloorLoop]
    feed: ChangeFeed
    waiters: Waiters
    polls: PollWaiters
    tails: Tails
    streams: Streams
    deliveries: DeliveryLoop

    def committed(self, signals: CommitSignals) -> None:
        """Takes the signals of a transaction of this replica. Any thread may call it."""
        if signals.ready:
            self.dispatcher.note_hint()  # here, so that an inline claim of this thread counts as after it
        if signals.for_others or (signals.moved and self.interest.elsewhere):
            self.notifier.notify(signals)
        self.loop.call_soon_threadsafe(self._route_own, signals)

    def notified(self, signals: CommitSignals) -> None:
        """Takes the signals of a transaction of another replica."""
        if signals.watching:
            self.interest.note_elsewhere()
        if signals.missed:
            self.reread_all()
        elif signals.ready:
            self.dispatcher.hint()
        self._route(signals)

    def reread_all(self) -> None:
        """Wakes everything that waits for signals: some may have been missed, and what they were about is in rows."""
        self.dispatcher.selectors_changed()
        self.due.wake()
        self.expiry.wake()
        self.schedules.wake()
        self.maintenance.wake()
        self.admission.rescan()
        self.waiters.wake_all()
        self.feed.hint()
        self.deliveries.hint(changed=True)

    def _route_own(self, signals: CommitSignals) -> None:
        if signals.watching:
            return
        for counter in self.move_counters:
            counter.moved(len(signals.ended) + 1)
        for attempt in signals.stopped:
            _log_stopped(attempt)
        if signals.ready:
            self.dispatcher.wake()
        if signals.spent:
            self.budgets.spent()
        self._route(signals)

    def _route(self, signals: CommitSignals) -> None:
        if signals.moved:
            self.feed.hint()
        if signals.due:
            self.due.wake()
            self.expiry.wake()
        if signals.schedules:
            self.schedules.wake()
        if signals.maintenance:
            self.maintenance.wake()
        if signals.selectors:
            self.dispatcher.selectors_changed()
        self.admission.on_commit(signals)
        self.waiters.wake(signals.ended)
        self._order(signals)
        self.polls.answered(signals.answered)
        self.tails.order(signals.tailed)
        self.tails.printed(signals.printed)
        if signals.webhooks or signals.deliveries:
            self.deliveries.hint(changed=signals.webhooks)

    def _order(self, signals: CommitSignals) -> None:
        """Tells workers whose streams are here what they are to do."""
        for worker_id, lease_id, reason in signals.cancelled:
            self.streams.send_order(worker_id, CancelLease(lease_id, reason))
        for worker_id in signals.drained:
            self.streams.send_order(worker_id, DrainOrder())
        for worker_id, slots in signals.resized:
            self.streams.send_order(worker_id, ResizeOrder(slots))
        for worker_id, poll in signals.polled:
            self.streams.send_order(worker_id, PollOrder(poll))


def _log_stopped(attempt: StoppedAttempt) -> None:
    _log.info(
        "an attempt ended without a result",
        action="attempt.stopped",
        task_id=format_task_id(attempt.ref.task_key),
        lease_id=attempt.ref.lease_id,
        attempt=attempt.ref.attempt,
        worker_id=attempt.worker_id,
        reason=attempt.reason,
        status=attempt.status.name.lower(),
        **({"trace_id": attempt.trace_id} if attempt.trace_id else {}),
    )
