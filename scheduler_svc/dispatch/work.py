"""The claim, which makes leases of the first ready tasks; the demand for workers; the pauses of dispatch.

Demand is read from the database, so that every replica says the same. Pauses, of an account or (0) of everything, are
separate switches, which survive restarts. Each claim reads the pause of everything. A pause of an account removes its
tags, so claims don't see its tasks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from scheduler_svc.dispatch.admission import settle
from scheduler_svc.dispatch.rows import Claimed
from scheduler_svc.domain.account import ALL_ACCOUNTS, Scope
from scheduler_svc.domain.dispatch import total_demand
from scheduler_svc.domain.errors import StoreUnavailable, existing
from scheduler_svc.domain.lease import share_out
from scheduler_svc.runtime.calls import Calls

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


@dataclass(frozen=True, slots=True)
class SessionCapacity:
    """A session's capacity as of its heartbeat of that number."""

    worker_id: str
    session_key: int
    heartbeat_number: int
    free: int
    half_open: bool = False
    """Its worker's circuit breaker is half-open: one task is to probe its CLI."""


def claim(
    tx: Tx, capacities: Sequence[SessionCapacity], limit: int, ttl: float, selectors: Sequence[int] = ()
) -> Claimed:
    """Grants up to `limit` leases to these sessions, by priority and fairly, the emptiest worker first.

    Before that, each half-open session gets one. On an idle fleet other workers would always be emptier, and a worker
    whose CLI is repaired would never be probed.

    `selectors`: the worker selectors that their labels match. Each worker has at most one session among them. A hello
    that replaces one waits for this commit, and then sees its leases. A session's row is read only if there is a task
    for it.
    """
    workers = {capacity.session_key: capacity.worker_id for capacity in capacities}
    half_open = [capacity.session_key for capacity in capacities if capacity.half_open]
    slots = share_out({capacity.session_key: capacity.free for capacity in capacities}, limit, half_open)
    claimed = tx.leases.claim([(workers[key], key) for key in slots], ttl, selectors)
    tx.signals.moved |= bool(claimed.grants)
    return claimed._replace(full=bool(claimed.closed or claimed.busy) or len(claimed.grants) == len(slots))


GIVE_WAY_INTERVAL = 0.0003
"""Seconds that a submit's thread sleeps once it has claimed. It would keep the interpreter's lock until it has answered
the submit, and the event loop could not send the grants before."""


class InlineClaim:
    """A claim on the thread of a submit: the last statement of its transaction, or a transaction of its own after it.

    The thread has to call it once the submit has ended.
    """

    def __init__(
        self,
        join: Callable[[Tx], Claimed],
        joined: Callable[[Claimed | StoreUnavailable], None],
        alone: Callable[[], None],
    ) -> None:
        """`join` claims in a transaction, and `joined` gets what it has claimed; `alone` claims by itself."""
        self._join = join
        self._joined = joined
        self._alone = alone
        self.pending = True
        """Whether it has not claimed yet."""
        self._unknown = False
        """Whether it has joined a transaction of which nobody knows whether it is committed."""

    def join(self, tx: Tx) -> Claimed:
        """Claims as the last statement of a transaction of which nothing was sent so far, and commits it."""
        try:
            claimed = self._join(tx)
        except Exception:
            self._unknown = tx.committing
            raise
        self.pending = self._unknown = False
        self._joined(claimed)
        if claimed.grants:
            time.sleep(GIVE_WAY_INTERVAL)
        return claimed

    def __call__(self) -> None:
        """Claims, unless it has joined the submit."""
        if self._unknown:
            self._joined(StoreUnavailable())
        elif self.pending:
            self._alone()


MAX_AGE = 1.0
"""Seconds for which a demand that was read is returned again, so that callers cost the database no more than one."""


Pairs: TypeAlias = "frozenset[tuple[str, str]]"
"""A worker selector."""


def read_demand(tx: Tx, account_id: int, selector: Pairs | None = None) -> int:
    """Returns the demand of an account, or (0) of all; with a `selector`, of tasks with exactly that one, which may be
    none. Raises NotFound.
    """
    if selector:
        number = next((number for number, labels in tx.selectors.all() if labels == dict(selector)), None)
        return 0 if number is None else tx.selectors.demand(account_id, number)
    if account_id == ALL_ACCOUNTS:
        demand = total_demand(*tx.loads.all())
    else:
        demand = existing(tx.loads.of(account_id), "account", account_id).demand
    return demand if selector is None else max(0, demand - tx.selectors.demand(account_id, None))


class _Reading(NamedTuple):
    begun: float
    task: asyncio.Task[int]

    @property
    def is_fresh(self) -> bool:
        """Whether it may be returned: it is under way, or was read within MAX_AGE."""
        failed = self.task.done() and (self.task.cancelled() or self.task.exception() is not None)
        return not failed and (not self.task.done() or time.monotonic() - self.begun < MAX_AGE)


class Demands:
    """Reads demands, for all who ask at once. Lives on the event loop."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._readings: dict[tuple[int, Pairs | None], _Reading] = {}

    async def of(self, account_id: int, selector: Pairs | None = None) -> int:
        """Returns what `read_demand` does, at most MAX_AGE old. Raises NotFound, StoreUnavailable."""
        reading = self._readings.get((account_id, selector))
        if reading is None or not reading.is_fresh:
            self._readings = {key: value for key, value in self._readings.items() if value.is_fresh}
            task = asyncio.create_task(self._calls.run(read_demand, account_id, selector))
            reading = self._readings[account_id, selector] = _Reading(time.monotonic(), task)
        return await asyncio.shield(reading.task)  # a caller that leaves does not end it for the others


class DispatchStatus(NamedTuple):
    all_paused: bool
    accounts: tuple[int, ...]


def pause_dispatch(tx: Tx, account_id: int) -> None:
    """Pauses: nothing more is leased from the commit on. Raises NotFound."""
    if account_id != ALL_ACCOUNTS:
        tx.accounts.require(account_id)
    tx.pauses.add(account_id)
    if account_id != ALL_ACCOUNTS:
        tx.window.close(account_id)
        settle(tx, account_id)


def resume_dispatch(tx: Tx, account_id: int) -> None:
    """Ends the pause with the same `account_id`. Raises NotFound."""
    if account_id != ALL_ACCOUNTS:
        tx.accounts.require(account_id)
    tx.pauses.remove(account_id)
    if account_id != ALL_ACCOUNTS:
        settle(tx, account_id)
    tx.signals.ready = True


def dispatch_status(tx: Tx, scope: Scope) -> DispatchStatus:
    """Returns the pause of everything, and the pauses of the accounts in scope."""
    paused = tx.pauses.list()
    return DispatchStatus(
        ALL_ACCOUNTS in paused,
        tuple(account_id for account_id in paused if account_id != ALL_ACCOUNTS and account_id in scope),
    )


def raise_floors(tx: Tx) -> bool:
    """Raises the floors below which claims read nothing; False if that is to be retried: tags were being given."""
    return tx.floors.rise()


def uncover_tags(tx: Tx) -> int:
    """Lowers floors above tags that a replica of the version before gave; returns how many."""
    uncovered = tx.floors.uncover()
    tx.signals.ready = uncovered > 0
    return uncovered
