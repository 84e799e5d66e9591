"""Admission: gives tags to an account's waiting tasks within its window, limits and pause, or takes tags away.

One short transaction an account. `domain/dispatch.py` decides; `dispatch/loop.py` calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler_svc.dispatch.rows import AccountQueue, FlowMark
from scheduler_svc.domain import dispatch
from scheduler_svc.domain.dispatch import StartQuota

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


MAX_BATCH = 1_000
"""Tasks that get a tag in one transaction."""
MAX_ACCOUNTS = 500
"""Accounts of one scan; the next scan continues after them."""


def settle(tx: Tx, account_id: int, *, reweighted: bool = False) -> None:
    """Makes the tags of an account's tasks match its limit, start quota, pause and window.

    `reweighted`: its weight changed, so its tags are respaced. If one batch was not enough, the account is added to
    `signals.admit`; if more attempts may start later, to `signals.admit_later`.
    """
    tx.window.lock(account_id)
    queue = _respaced(tx, account_id, reweighted=reweighted)
    untagged = 0
    while queue and any(surplus := _surplus(queue)):
        untagged += _untag(tx, account_id, queue, surplus)
        queue = _account_queue(tx, account_id, untagged)
    if queue:
        admitted = _admit(tx, account_id, queue)
        if queue.quota:
            _count_starts(tx, account_id, queue, queue.quota, admitted)


def _account_queue(tx: Tx, account_id: int, untagged: int = 0) -> AccountQueue | None:
    """Reads the account's waiting tasks; tasks that this transaction has untagged do not count as started."""
    queue = tx.window.account_queue(account_id, MAX_BATCH + 1)
    if queue is None or queue.quota is None:
        return queue
    return queue._replace(quota=queue.quota.counted(queue.tagged + untagged))


def _respaced(tx: Tx, account_id: int, *, reweighted: bool) -> AccountQueue | None:
    """Respaces tags that have a gap or are of a former weight; returns the account's waiting tasks after that."""
    queue = _account_queue(tx, account_id)
    if queue is None:
        return None
    gaps = [flow for flow in queue.flows if flow.has_tag_gap(queue.weight) or (reweighted and flow.tagged)]
    for flow in gaps:
        tx.window.renew(account_id, flow.priority, flow.now, queue.weight)
    return _account_queue(tx, account_id) if gaps else queue


def _allot(queue: AccountQueue) -> list[int]:
    seats = dispatch.free_seats(paused=queue.paused, limit=queue.limit, leased=queue.leases, quota=queue.quota)
    return dispatch.allot(queue.flows, seats, queue.weight, queue.aging)


def _surplus(queue: AccountQueue) -> list[int]:
    return [max(0, flow.tagged - allotted) for flow, allotted in zip(queue.flows, _allot(queue), strict=True)]


def _untag(tx: Tx, account_id: int, queue: AccountQueue, surplus: Sequence[int]) -> int:
    return sum(
        tx.window.untag(account_id, flow.priority, count)
        for flow, count in zip(queue.flows, surplus, strict=True)
        if count
    )


def _admit(tx: Tx, account_id: int, queue: AccountQueue) -> int:
    left = MAX_BATCH
    marks = []
    for flow, allotted in zip(queue.flows, _allot(queue), strict=True):
        start, count = max(flow.finish, flow.now), min(allotted - flow.tagged, left)
        if count:
            count = tx.window.admit(account_id, flow.priority, count, start, queue.weight)
            tx.signals.ready = True
        left -= count
        backlog = flow.untagged > count
        has_seats = allotted == flow.window_limit(queue.weight)  # else a free seat refills, not a claim
        refill = dispatch.refill(start + count / queue.weight, queue.weight) if backlog and has_seats else None
        marks.append(FlowMark(flow.priority, backlog, dispatch.REFILL_ALWAYS if queue.quota else refill))
    tx.window.mark(account_id, marks, closed=queue.paused or queue.limit > 0 or queue.quota is not None)
    if not left:
        tx.signals.admit.add(account_id)
    return MAX_BATCH - left


def _count_starts(tx: Tx, account_id: int, queue: AccountQueue, quota: StartQuota, admitted: int) -> None:
    """Stores the starts; if more tasks wait for a seat, signals when the next one comes free."""
    tagged = queue.tagged + admitted
    tx.start_quotas.count(account_id, tagged - quota.admitted, quota.starts)
    waiting = sum(flow.untagged for flow in queue.flows) > admitted
    if waiting and tagged >= quota.seats and quota.next_seat is not None:
        tx.signals.admit_later[account_id] = quota.next_seat


@dataclass(frozen=True, slots=True)
class AdmissionScan:
    """Accounts with waiting tasks, by id, and whether there are more; and all accounts with a limit.

    `reopened`: accounts with a start quota whose window a replica of a version without quotas has opened.
    """

    waiting: list[int]
    more: bool
    limited: frozenset[int]
    reopened: list[int]


def scan(tx: Tx, after: int) -> AdmissionScan:
    """Finds accounts that need admission, in case signals were lost: a bounded number, with ids above `after`."""
    waiting = tx.window.accounts_with_backlog(after, MAX_ACCOUNTS)
    limited = frozenset(tx.window.accounts_with_limit())
    return AdmissionScan(waiting, len(waiting) == MAX_ACCOUNTS, limited, tx.start_quotas.reopened())
