"""What the watchers of tasks read, each function in one transaction of its own. Nothing here writes.

Moves are read by their numbers and only up to a number that is settled (`domain/change.py`), so that pages read in
different transactions, on any replica, add up to one sequence. Deleted moves leave a mark by account; it is read after
the moves themselves, so that whatever was deleted too early is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Concatenate, NamedTuple, ParamSpec, TypeVar

from scheduler_svc.domain import change
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.change import Snapshot, TaskChange
from scheduler_svc.domain.errors import NotFound, ResumeTokenExpired
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import TaskEvent

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


P = ParamSpec("P")
R = TypeVar("R")

MAX_PAGE = 500
"""Moves, or present states, that one transaction reads at most."""
MAX_SCAN = 20_000
"""Moves of all accounts in which one transaction looks for a full page of some; that takes a tenth of a second. An
index by account would make every move more expensive.
"""


@dataclass(frozen=True, slots=True)
class Selection:
    """The watched tasks: these, in the order of their keys, or all of a scope."""

    keys: tuple[int, ...] = ()
    scope: Scope | None = None
    """None: the keys count."""


class Position(NamedTuple):
    """A watch's position: the number and the task of the last move sent.

    While it is `listing`, present states are sent, all as of the number, and `key` is the task of the last one.
    """

    number: int
    key: int
    listing: bool


class OpenedWatch(NamedTuple):
    """A watch at its start: the database's history, the last number drawn in it, the accounts of its tasks."""

    origin: str
    last: int
    accounts: Scope


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Changes in order, and the number or key up to which all were read (`full`: there may be more)."""

    changes: list[TaskChange]
    end: int
    full: bool


def open_watch(tx: Tx, selection: Selection, resumed: tuple[Position, str] | None) -> OpenedWatch:
    """Opens a watch, anew or after a position in a history. Raises NotFound, ResumeTokenExpired."""
    accounts = _accounts(tx, selection)
    origin, last = tx.changes.head()
    if resumed is not None:
        position, resumed_origin = resumed
        if resumed_origin != origin or position.number > last or not _is_kept(tx, selection, position):
            raise ResumeTokenExpired
    return OpenedWatch(origin, last, accounts)


def _accounts(tx: Tx, selection: Selection) -> Scope:
    if selection.scope is not None:
        tx.accounts.require_in(selection.scope)
        return selection.scope
    accounts = tx.task_reads.accounts_of(selection.keys)
    for key in selection.keys:
        if key not in accounts:
            raise NotFound("task", format_task_id(key))
    return Scope(tuple(sorted(set(accounts.values()))))


def _is_kept(tx: Tx, selection: Selection, position: Position) -> bool:
    """Returns whether no move after this position was deleted.

    A task is deleted with all of its moves, so a task that exists has all of them. If a position's move neither exists
    nor is the last one deleted, the position belongs to another history.
    """
    deleted_to = 0 if selection.scope is None else tx.changes.cleaned_to(selection.scope)
    if deleted_to > position.number:
        return False
    return position.listing or deleted_to == position.number or tx.changes.has(position.key, position.number)


def read_snapshot(tx: Tx, position: int | None, origin: str | None, *, announce: bool) -> tuple[str, Snapshot | None]:
    """Returns the history, and a snapshot if a number was drawn after `position`.

    `announce`: signals to other replicas that this one has watchers. Raises ResumeTokenExpired if the history is not
    `origin` (None: the first snapshot).
    """
    tx.signals.watching = announce
    present, last = tx.changes.head()
    if origin not in {None, present}:
        raise ResumeTokenExpired
    return present, None if last == position else tx.changes.snapshot()


def in_history(tx: Tx, origin: str, read: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Returns what `read` finds. Raises ResumeTokenExpired if the database's history is not `origin`.

    After a failover a pooled connection may lead to another history, which may lack moves of the last page.
    """
    if tx.changes.head()[0] != origin:
        raise ResumeTokenExpired
    return read(tx, *args, **kwargs)


def read_all(tx: Tx, after: int, until: int, wanted: Callable[[int, int], bool]) -> tuple[ChangePage, frozenset[int]]:
    """Returns changes above `after` of the tasks and accounts that are `wanted`; everything up to `until` is settled.

    Also returns the accounts with moves after `after` that were deleted, maybe before they could be read.
    """
    rows = tx.changes.page(after, until, MAX_PAGE)
    chosen = {number: key for number, key, account_id in rows if wanted(key, account_id)}
    page = _page(tx, until, [row[0] for row in rows], chosen, MAX_PAGE)
    return page, tx.changes.cleaned_since(after)


def read_selected(tx: Tx, selection: Selection, after: int, until: int, limit: int) -> ChangePage:
    """Reads as `read_all` does, for one selection, `limit` changes at most.

    Raises ResumeTokenExpired if moves of the selection were deleted.
    """
    if (scope := selection.scope) is not None:
        scan = max(1, MAX_SCAN * limit // MAX_PAGE)
        moves, read_to = tx.changes.page_of_scope(scope, after, until, scan, limit)
        page = _page(tx, read_to, list(moves), moves, limit)
        gone = any(account_id in scope for account_id in tx.changes.cleaned_since(after))
    else:
        chosen = dict(tx.changes.page_of(selection.keys, after, until, limit))
        page = _page(tx, until, list(chosen), chosen, limit)
        gone = len(tx.task_reads.accounts_of(selection.keys)) < len(selection.keys)
    if gone:
        raise ResumeTokenExpired
    return page


def _page(tx: Tx, until: int, numbers: list[int], chosen: dict[int, int], limit: int) -> ChangePage:
    """Returns the changes of the chosen numbers, of a page of `limit` numbers up to `until`."""
    full = len(numbers) == limit
    changes = _changes(tx, sorted(set(chosen.values())), lambda _: chosen)
    changes.sort(key=lambda task_change: task_change.number)
    return ChangePage(changes, numbers[-1] if full else until, full)


def read_present(tx: Tx, selection: Selection, after: int, number: int, limit: int) -> ChangePage:
    """Returns present states as of `number`, of keys above `after`: of the named tasks, or of the scope's open ones.

    `limit`: how many keys are read at most. Later submits are left out, since their first moves follow.
    """
    if selection.scope is not None:
        keys = tx.changes.open_tasks(selection.scope, after, limit)
    else:
        keys = [key for key in selection.keys if key > after][:limit]
    latest = _changes(
        tx, keys, lambda history: {max((event.seq for event in history if event.seq <= number), default=0)}
    )
    listed = [
        replace(task_change, previous_status=Status.NONE, event_time=tx.now)
        for task_change in latest
        if not (selection.scope is not None and task_change.task.ended)
    ]
    return ChangePage(listed, keys[-1] if keys else after, full=len(keys) == limit)


def _changes(tx: Tx, keys: Sequence[int], numbers: Callable[[Sequence[TaskEvent]], Container[int]]) -> list[TaskChange]:
    """Returns the changes with those `numbers` of each history, task by task, without tasks that were deleted
    meanwhile.
    """
    if not keys:
        return []
    tasks, histories = tx.task_reads.listed(keys), tx.task_reads.histories(keys)
    stored_keys = [key for key in keys if key in tasks and key in histories]
    return [
        task_change
        for key in stored_keys
        for task_change in change.changes(tasks[key], histories[key], numbers(histories[key]))
    ]
