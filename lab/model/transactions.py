"""Transactions of the production application, statement by statement, beside others.

A function of the application is called anew for each step. What its statements answered before, they answer again; the
next one runs on what is committed by now, with what this transaction has written (READ COMMITTED); before the one
after that, others may come. A statement that wants a row which another transaction holds waits for its end.

Statements on rows that the transaction holds already, or that nobody sees before its commit, run along with the one
before them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from lab.model.database import transaction
from lab.model.tables import ACCOUNT, Tables

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx

Row = tuple[str, int]
Work: TypeAlias = "Callable[[Tx], object]"

_STORED = ("tasks", "ready", "delayed", "leases", "limits", "shares")
"""The tables that transactions write."""
_STEPWISE = ("tasks", "waiting", "window", "leases", "accounts")
_ALONG = {
    ("tasks", "lock"), ("tasks", "end_attempts"), ("leases", "delete"), ("leases", "revoke"),
    ("waiting", "insert_ready"), ("waiting", "insert_delayed"), ("waiting", "next_due"), ("window", "mark"),
}  # fmt: skip
_SKIPS_LOCKED = {
    ("leases", "claim"): "ready",
    ("leases", "lock_expired"): "leases",
    ("window", "admit"): "ready",
    ("waiting", "take_due"): "delayed",
}
_SHARE = frozenset({("shares", ACCOUNT)})
_LOCKS: Mapping[tuple[str, str], Callable[[Any, Any], frozenset[Row]]] = {
    ("window", "lock"): lambda _, answer: _SHARE if answer else frozenset(),
    ("window", "admit"): lambda _, answer: _SHARE,
    ("window", "untag"): lambda _, answer: _SHARE,
    ("window", "mark"): lambda _, answer: _SHARE,
    ("waiting", "reserve"): lambda _, answer: _SHARE,
    ("tasks", "lock"): lambda _, answer: frozenset(("tasks", key) for key in answer),
    ("leases", "lock"): lambda _, answer: frozenset(("leases", key) for key in answer),
    ("leases", "lock_expired"): lambda _, answer: frozenset(("leases", lease.ref.task_key) for lease in answer),
}
"""The rows that a statement holds though it need not change them."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A transaction that is not committed: its statements, their answers, what it wrote, and the rows that it holds.

    `seen` is what the next statement has read before it came to wait for a row; None stands for a deleted row.
    """

    statements: tuple[str, ...] = ()
    answers: tuple[Any, ...] = ()
    seen: tuple[Any, ...] = ()
    writes: Mapping[Row, Any] = field(default_factory=dict)
    held: frozenset[Row] = frozenset()
    ended: bool = False
    """It has no further statement: what comes next is its commit."""


class _Waits(Exception):
    """The next statement waits for a row."""


class _Paused(BaseException):
    """A step is over."""


def advanced(work: Work, one: UnderWay, copy: Callable[[], Tables], others_hold: frozenset[Row]) -> UnderWay | None:
    """Returns the transaction after its next statement; None where that waits. `copy` makes one of what is committed.

    Raises DomainError where the work is refused, and what the code finds to be inconsistent.
    """
    run = _Run(one, copy, others_hold)
    try:
        work(run.tx())
    except _Waits:
        return None
    except _Paused:
        return run.after(ended=False)
    return run.after(ended=True)


def commit(tables: Tables, one: UnderWay) -> None:
    for (table, key), value in one.writes.items():
        rows = getattr(tables, table)
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value


class _Run:
    def __init__(self, one: UnderWay, copy: Callable[[], Tables], others_hold: frozenset[Row]) -> None:
        self._one = one
        self._others_hold = others_hold
        self._tables, self._before = copy(), copy()
        commit(self._tables, one)
        commit(self._before, one)
        self._position = 0
        self._statements = list(one.statements)
        self._answers = list(one.answers)
        self._seen = one.seen
        self._held = set(one.held)

    def tx(self) -> Tx:
        tx = transaction(self._tables, first=self._first)
        for name in _STEPWISE:
            setattr(tx, name, _Stepwise(self, name, getattr(tx, name)))
        return tx

    def after(self, *, ended: bool) -> UnderWay:
        changes = {row: getattr(self._tables, row[0]).get(row[1]) for row in sorted(self._changed())}
        writes = dict(self._one.writes) | changes
        held = frozenset(self._held)
        return UnderWay(tuple(self._statements), tuple(self._answers), self._seen, writes, held, ended)

    def statement(self, name: tuple[str, str], run: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Answers a statement that the application calls."""
        self._position += 1
        if self._position <= len(self._one.answers):
            return self._one.answers[self._position - 1]
        if len(self._answers) > len(self._one.answers) and name not in _ALONG:
            raise _Paused
        answer = self._executed(name, run, *arguments, **named)
        self._statements.append(".".join(name))
        self._answers.append(answer)
        self._seen = ()
        return answer

    def _executed(self, name: tuple[str, str], run: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        hidden = self._hidden(_SKIPS_LOCKED.get(name))
        answer = run(*arguments, **named)
        for table, key, value in hidden:
            getattr(self._tables, table)[key] = value
        wanted_rows = self._changed() | (_LOCKS[name](arguments, answer) if name in _LOCKS else frozenset())
        if wanted_rows & self._others_hold:
            raise _Waits
        self._held |= wanted_rows
        return answer

    def _hidden(self, table: str | None) -> list[tuple[str, int, Any]]:
        """Takes the rows that others hold out of a table that is read with SKIP LOCKED."""
        rows = getattr(self._tables, table) if table else {}
        return [(table or "", key, rows.pop(key)) for key in list(rows) if (table, key) in self._others_hold]

    def _first(self, read: Callable[[], Any]) -> Any:
        if not self._seen:
            self._seen = (read(),)
            raise _Paused
        return self._seen[0]

    def _changed(self) -> frozenset[Row]:
        return frozenset(
            (table, key)
            for table in _STORED
            for key in getattr(self._tables, table).keys() | getattr(self._before, table).keys()
            if getattr(self._tables, table).get(key) != getattr(self._before, table).get(key)
        )


class _Stepwise:
    """A group of statements that are run one by one."""

    def __init__(self, run: _Run, name: str, group: Any) -> None:
        self._run = run
        self._name = name
        self._group = group

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            return self._run.statement((self._name, method), getattr(self._group, method), *arguments, **named)

        return call
