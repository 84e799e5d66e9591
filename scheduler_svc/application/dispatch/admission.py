"""Who of an account's waiting tasks may run now: fills its window, within its limits and its pause, or empties it.

One short transaction an account. The decisions are in `domain/fairness.py`; what wakes them in `loops/admission.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scheduler_svc.application.ports import Tx
from scheduler_svc.application.records import AccountQueue, FlowMark
from scheduler_svc.domain import fairness
from scheduler_svc.domain.start_quota import StartQuota

MAX_BATCH = 1_000
"""Tasks that one transaction lets in at most."""
MAX_ACCOUNTS = 500
"""Accounts that one look finds at most; the next look goes on after them."""


def settle(tx: Tx, account_id: int, *, reweighted: bool = False) -> None:
    """Makes the tags of an account's tasks what its limit, its quota of starts, its pause and its window allow.

    `reweighted`: its weight is new, so the tags that it has are spaced by it. Where a batch was not enough, the
    account is among `signals.admit`; where more may start later, among `signals.later`.
    """
    tx.window.lock(account_id)
    present = _straightened(tx, account_id, reweighted=reweighted)
    taken_back = 0
    while present and any(surplus := _surplus(present)):
        taken_back += _take_back(tx, account_id, present, surplus)
        present = _waitlist(tx, account_id, taken_back)
    if present:
        let_in = _let_in(tx, account_id, present)
        if present.quota:
            _count_starts(tx, account_id, present, present.quota, let_in)


def _waitlist(tx: Tx, account_id: int, taken_back: int = 0) -> AccountQueue | None:
    """What waits, and what has started; this transaction has taken so many tags away, whose tasks did not start."""
    present = tx.window.account_queue(account_id, MAX_BATCH + 1)
    if present is None or present.quota is None:
        return present
    return present._replace(quota=present.quota.counted(present.tagged + taken_back))


def _straightened(tx: Tx, account_id: int, *, reweighted: bool) -> AccountQueue | None:
    """What waits, once the tags that run too far ahead, or at the weight of before, are renewed."""
    present = _waitlist(tx, account_id)
    if present is None:
        return None
    bent = [line for line in present.flows if line.has_tag_gap(present.weight) or (reweighted and line.tagged)]
    for line in bent:
        tx.window.renew(account_id, line.priority, line.now, present.weight)
    return _waitlist(tx, account_id) if bent else present


def _allot(present: AccountQueue) -> list[int]:
    """How many tasks of each line may have a tag."""
    bounds = []
    if present.paused:
        bounds.append(0)
    if present.limit:
        bounds.append(max(0, present.limit - present.leases))
    if present.quota:
        bounds.append(present.quota.seats)
    return fairness.allot(present.flows, min(bounds, default=None), present.weight, present.aging)


def _surplus(present: AccountQueue) -> list[int]:
    """How many tasks of each line have a tag and no seat, or must leave theirs to a higher priority."""
    return [max(0, line.tagged - wanted) for line, wanted in zip(present.flows, _allot(present), strict=True)]


def _take_back(tx: Tx, account_id: int, present: AccountQueue, surplus: Sequence[int]) -> int:
    """Takes their tags away; returns how many were not claimed meanwhile."""
    return sum(
        tx.window.untag(account_id, line.priority, count)
        for line, count in zip(present.flows, surplus, strict=True)
        if count
    )


def _let_in(tx: Tx, account_id: int, present: AccountQueue) -> int:
    """Gives tags to those that have a seat; returns to how many."""
    left = MAX_BATCH
    marks = []
    for line, wanted in zip(present.flows, _allot(present), strict=True):
        start, count = max(line.finish, line.now), min(wanted - line.tagged, left)
        if count:
            count = tx.window.let_in(account_id, line.priority, count, start, present.weight)
            tx.signals.ready = True
        left -= count
        backlog = line.untagged > count
        has_seats = wanted == line.window_limit(
            present.weight
        )  # else it goes on when one is free, not when one is claimed
        refill = fairness.refill(start + count / present.weight, present.weight) if backlog and has_seats else None
        marks.append(FlowMark(line.priority, backlog, fairness.REFILL_ALWAYS if present.quota else refill))
    tx.window.mark(account_id, marks, closed=present.paused or present.limit > 0 or present.quota is not None)
    if not left:
        tx.signals.admit.add(account_id)
    return MAX_BATCH - left


def _count_starts(tx: Tx, account_id: int, present: AccountQueue, quota: StartQuota, let_in: int) -> None:
    """Stores what has started, and asks for the time when as many may again, where more wait."""
    tagged = present.tagged + let_in
    tx.start_quotas.count(account_id, tagged - quota.let_in, quota.starts)
    waiting = sum(line.untagged for line in present.flows) > let_in
    if waiting and tagged >= quota.seats and quota.next_seat is not None:
        tx.signals.admit_later[account_id] = quota.next_seat


@dataclass(frozen=True, slots=True)
class AdmissionScan:
    """Accounts whose waiting tasks should be looked at, by id, whether there are more; and those that have a limit.

    `ajar`: accounts with a quota of starts that a replica of a version without it has opened.
    """

    waiting: list[int]
    more: bool
    limited: frozenset[int]
    reopened: list[int]


def scan(tx: Tx, after: int) -> AdmissionScan:
    """What a replica should know that was told nothing: of a bounded number of accounts with ids above `after`."""
    waiting = tx.window.accounts_with_backlog(after, MAX_ACCOUNTS)
    limited = frozenset(tx.window.accounts_with_limit())
    return AdmissionScan(waiting, len(waiting) == MAX_ACCOUNTS, limited, tx.start_quotas.reopened())
