"""Who of an account's waiting tasks may run now: fills its window, within its limit and its pause, or empties it.

One short transaction an account. The decisions are in `domain/fairness.py`; what wakes them in `loops/admission.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from scheduler_svc.application.ports import Tx
from scheduler_svc.application.records import LineMark, Waitlist
from scheduler_svc.domain import fairness

BATCH = 1_000
"""Tasks that one transaction lets in at most."""
MOST_ACCOUNTS = 500
"""Accounts that one look finds at most; the next look goes on after them."""


def settle(tx: Tx, account_id: int, *, reweighted: bool = False) -> None:
    """Makes the tags of an account's tasks what its limit, its pause and its window allow.

    `reweighted`: its weight is new, so the tags that it has are spaced by it. Where a batch was not enough, the
    account is among `signals.admit`.
    """
    tx.window.lock(account_id)
    present = _straightened(tx, account_id, reweighted=reweighted)
    while present and _take_back(tx, account_id, present):
        present = tx.window.waitlist(account_id, BATCH + 1)
    if present:
        _let_in(tx, account_id, present)


def _straightened(tx: Tx, account_id: int, *, reweighted: bool) -> Waitlist | None:
    """What waits, once the tags that run too far ahead, or at the weight of before, are renewed."""
    present = tx.window.waitlist(account_id, BATCH + 1)
    if present is None:
        return None
    bent = [line for line in present.lines if line.bent(present.weight) or (reweighted and line.tagged)]
    for line in bent:
        tx.window.renew(account_id, line.priority, line.now, present.weight)
    return tx.window.waitlist(account_id, BATCH + 1) if bent else present


def _allot(present: Waitlist) -> list[int]:
    """How many tasks of each line may have a tag."""
    seats = None
    if present.paused:
        seats = 0
    elif present.limit:
        seats = max(0, present.limit - present.leases)
    return fairness.allot(present.lines, seats, present.weight)


def _take_back(tx: Tx, account_id: int, present: Waitlist) -> bool:
    """Takes away the tags of those that have no seat, or must leave theirs to a higher priority; whether any did."""
    surplus = [line.tagged - wanted for line, wanted in zip(present.lines, _allot(present), strict=True)]
    for line, count in zip(present.lines, surplus, strict=True):
        if count > 0:
            tx.window.untag(account_id, line.priority, count)
    return max(surplus) > 0


def _let_in(tx: Tx, account_id: int, present: Waitlist) -> None:
    left = BATCH
    marks = []
    for line, wanted in zip(present.lines, _allot(present), strict=True):
        start, count = max(line.finish, line.now), min(wanted - line.tagged, left)
        if count:
            count = tx.window.let_in(account_id, line.priority, count, start, present.weight)
            tx.signals.ready = True
        left -= count
        backlog = line.untagged > count
        has_seats = wanted == line.most(present.weight)  # else it goes on when one is free, not when one is claimed
        refill = fairness.refill(start + count / present.weight, present.weight) if backlog and has_seats else None
        marks.append(LineMark(line.priority, backlog, refill))
    tx.window.mark(account_id, marks, closed=present.paused or present.limit > 0)
    if not left:
        tx.signals.admit.add(account_id)


@dataclass(frozen=True, slots=True)
class Outlook:
    """Accounts whose waiting tasks should be looked at, by id, whether there are more; and those that have a limit."""

    waiting: list[int]
    more: bool
    limited: frozenset[int]


def look(tx: Tx, after: int) -> Outlook:
    """What a replica should know that was told nothing: of a bounded number of accounts with ids above `after`."""
    waiting = tx.window.accounts_with_backlog(after, MOST_ACCOUNTS)
    return Outlook(waiting, len(waiting) == MOST_ACCOUNTS, frozenset(tx.window.accounts_with_limit()))
