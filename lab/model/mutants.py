"""The protocol with one rule removed: the checker has to find each.

A mutant replaces one decision of the production code for as long as a model is explored; nothing else of it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from lab.model import database, properties
from lab.model.database import WindowRows
from lab.model.explore import DEADLOCK, Exploration, System, explore
from lab.model.interleaving import Traffic
from lab.model.properties import Scenario
from lab.model.scenarios import system
from lab.model.tables import Tables
from scheduler_svc.dispatch.streams import Streams
from scheduler_svc.dispatch.work import SessionCapacity
from scheduler_svc.domain import dispatch
from scheduler_svc.domain import lease as rules
from scheduler_svc.domain.lease import Capacity, FoldedUpdates, HelloVerdict, LastEnd, LeaseRow, ReaperRow, Verdict
from scheduler_svc.history import work as ledger
from scheduler_svc.history.work import ReadyRow
from scheduler_svc.leases import attempts as reporters
from scheduler_svc.leases import recover, sessions
from worker_svc.session import deadlines
from worker_svc.session.outbox import Outbox

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


@dataclass(frozen=True, slots=True)
class Mutant:
    """A removed rule: `instead` replaces `owner`'s `decision`; in `scenario` it shows, as `shows_as`."""

    name: str
    rule: str
    without: str
    scenario: Scenario | Traffic
    shows_as: str
    owner: Any
    decision: str
    instead: Callable[..., Any]
    fenced: bool = True

    def explore(self) -> tuple[System[Any], Exploration[Any]]:
        with patch.object(self.owner, self.decision, self.instead):
            model = system(self.scenario, fenced=self.fenced)
            return model, explore(model)


def _judge_without_fence(fold: FoldedUpdates, lease: LeaseRow | None, last: LastEnd | None) -> Verdict:
    """Any lease of the task will do."""
    if lease is not None:
        fold = replace(fold, ref=lease.ref)
    return rules.judge(fold, lease, last)


def _heartbeat_without_number(
    self: Capacity, number: int, free_slots: int, last_assignment: int, expires_at: float
) -> None:
    """Treats a heartbeat as if it had known of all that was sent before it arrived."""
    self.heartbeat_number, self.free_slots, self.expires_at = number, free_slots, expires_at
    self.unread.clear()


def _capacities_of_all_streams(self: Streams, now: float, _most: int) -> list[SessionCapacity]:
    """Counts a replaced stream's capacity for its successor, too."""
    return [
        SessionCapacity(worker_id, newest.session_key, newest.capacity.heartbeat_number, free)
        for worker_id, newest in self._by_worker.items()
        if (
            free := sum(
                stream.capacity.free(now) for stream in self._by_session.values() if stream.worker_id == worker_id
            )
        )
    ]


def _deadline_after_expiry(built_at: float, lease_ttl: float) -> float:
    """Leaves no time to stop, and adds the time that a message may have taken."""
    return built_at + lease_ttl + 1.0


def _rewind_without_spool(self: Outbox) -> None:
    """Treats what was sent on the former stream as delivered."""
    self._sent.clear()
    self._unanswered.clear()


def _tick_without_outage(
    row: ReaperRow, now: float, heartbeat_interval: float, lease_ttl: float, *, runs_ahead: bool
) -> ReaperRow:
    """A gap in the ticks means nothing."""
    return ReaperRow(max(row.stamp, now), row.expire_not_before)


def _hello_without_number(*_: object) -> HelloVerdict:
    """Any hello of the folder opens a session."""
    return HelloVerdict.OPEN


def _deadline_from_newest_state(self: deadlines.HeartbeatLog, heartbeat_number: int) -> float | None:
    """Counts the deadline of a new lease from the newest heartbeat, not from the one that its claim answers."""
    state = self._heartbeats.get(self._newest)
    return None if state is None else deadlines.deadline(state.at, self._lease_ttl)


def _never_ahead(gained: float, lease_ttl: float) -> bool:
    return False


def _without_lock(self: WindowRows, account_id: int) -> bool:
    return False


def _without_closing(self: WindowRows, account_id: int) -> None:
    """A limit is only a number."""


def _seats_without_revoked(tables: Tables) -> int:
    """Counts a cancelled lease as gone."""
    return sum(not lease.revoked for lease in tables.leases.values())


_with_tags = ledger._with_tags


def _with_kept_tags(tx: Tx, rows: list[ReadyRow]) -> list[ReadyRow]:
    """Returns its former tag to each task."""
    pairs = zip(rows, _with_tags(tx, rows), strict=True)
    return [new if old.tag is None else new._replace(tag=old.tag) for old, new in pairs]


def _allot_without_places(
    lines: Sequence[dispatch.Flow], seats: int | None, weight: float, aging: float = 0.0
) -> list[int]:
    """Fills the seats that no lease takes at each pass, whatever was admitted for them before."""
    return [line.tagged + (line.untagged if seats is None else min(line.untagged, seats)) for line in lines]


MUTANTS = (
    Mutant(
        "The fence is off", "invariant 3, rules 14 to 16",
        "A report is judged by its task, whichever lease it names; the database compares neither attempt nor fence.",
        Scenario("fence", "", {"partition": 1}, rival=True), properties.SUPERSEDED,
        reporters, "judge", _judge_without_fence, fenced=False,
    ),
    Mutant(
        "The heartbeat is unnumbered", "rule 6",
        "A heartbeat does not state which assignment the worker has read: it counts as having read them all.",
        Scenario("capacity", "", {"slow": 1}, tasks=2), properties.OVERFULL,
        Capacity, "heartbeat", _heartbeat_without_number,
    ),
    Mutant(
        "A replaced stream offers its capacity", "rules 3 and 6",
        "A replica that has both of a worker's streams, the dead one and its successor, claims the capacity of both.",
        Scenario("replaced", "", {"cut": 1}, tasks=2, one_replica=True), properties.OVERFULL,
        Streams, "capacities", _capacities_of_all_streams,
    ),
    Mutant(
        "The worker stops its CLI only after the lease has expired", "rule 9",
        "Its deadline leaves no time to stop, and adds the time that a message may have taken.",
        Scenario("partition", "", {"partition": 1}), properties.OUTLIVES,
        deadlines, "deadline", _deadline_after_expiry,
    ),
    Mutant(
        "The spool is dropped at a reconnect", "rules 4 and 15",
        "What was sent on the former stream counts as delivered and is not sent again after a Welcome.",
        Scenario("streams", "", {"cut": 1}), DEADLOCK,
        Outbox, "rewind", _rewind_without_spool,
    ),
    Mutant(
        "Leases expire during an outage", "rule 11",
        "The reapers ignore a gap in their ticks: all leases whose time has passed expire.",
        Scenario("outage", "", {"outage": 1}, loses_nothing=True), properties.LOST_RUN,
        rules, "tick", _tick_without_outage,
    ),
    Mutant(
        "A delayed hello opens a session", "rule 2",
        "Session numbers are not compared: a delayed Hello ends the leases that its worker was granted since.",
        Scenario("streams", "", {"cut": 1}), properties.OUTLIVES,
        sessions, "judge_hello", _hello_without_number,
    ),
    Mutant(
        "A new lease counts from the newest heartbeat", "rules 6 and 9",
        "Its deadline counts from the last heartbeat that was built, not from the one that its claim answers.",
        Scenario("late", "", {"slow": 1, "suspend": 1}), properties.OUTLIVES,
        deadlines.HeartbeatLog, "grant_deadline", _deadline_from_newest_state,
    ),
    Mutant(
        "A database clock that runs ahead goes unnoticed", "rule 11",
        "The reapers do not compare it with their own: jumps no longer than a tick count as time.",
        Scenario("jumps", "", {"jump": 3}), properties.OUTLIVES,
        recover, "is_ahead", _never_ahead,
    ),
    Mutant(
        "Two replicas admit at the same time", "an account's limit",
        "A replica counts an account's leases and admits more tasks without locking its row in `shares`.",
        Traffic("admission", ""), properties.OVER_LIMIT,
        WindowRows, "lock", _without_lock,
    ),
    Mutant(
        "Admitted tasks do not count", "an account's limit",
        "A task that was admitted and is not claimed yet takes no seat: each pass admits one for the same seat.",
        Traffic("admission", ""), properties.OVER_LIMIT,
        dispatch, "allot", _allot_without_places,
    ),
    Mutant(
        "A revoked lease does not count", "an account's limit, rule 17",
        "A cancelled task counts as gone, although its CLI may still run.",
        Traffic("cancel", "", {"cancel": 1}), properties.OVER_LIMIT,
        database, "seats_taken", _seats_without_revoked,
    ),
    Mutant(
        "A released task keeps its place in a closed window", "an account's limit, rule 8",
        "A released lease leaves its task where it was, whatever the limit is by now.",
        Traffic("lower", "", {"limit": 1, "release": 1}, limits=(2, 1)), properties.OVER_LIMIT,
        ledger, "_with_tags", _with_kept_tags,
    ),
    Mutant(
        "A new limit does not close the window", "an account's limit",
        "UpdateAccount changes the number, and tasks that are being added at the same time ignore it.",
        Traffic("due", "", {"limit": 1}, limits=(0, 1), scheduled=True), properties.OVER_LIMIT,
        WindowRows, "close", _without_closing,
    ),
)  # fmt: skip
