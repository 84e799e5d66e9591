"""Transactions beside each other as lines of a sequence diagram."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lab.model.explore import CounterExample
from lab.model.interleaving import Call, Interleaving, Traffics
from lab.model.transactions import UnderWay

_WHO = {
    "report": "a report",
    "release": "a report",
    "cancel": "CancelTask",
    "reaper": "the reaper",
    "due": "the due loop",
    "limit": "UpdateAccount",
}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


_SAYS: Mapping[str, Callable[[Any], str | None]] = {
    "window.lock": lambda is_there: "locks the account's row" if is_there else None,
    "window.close": lambda _: "closes the window",
    "window.account_queue": lambda queue: (
        queue and f"counts {_count(queue.leases, 'lease')}, {queue.flows[0].tagged} admitted"
    ),
    "window.admit": lambda number: f"admits {_count(number, 'task')}",
    "window.untag": lambda number: f"takes {_count(number, 'task')} out of the window",
    "leases.claim": lambda rows: (
        f"claims {', '.join(f'task {grant.ref.task_key}' for grant in rows.grants) or 'nothing'}"
    ),
    "leases.revoke": lambda number: f"revokes {_count(number, 'lease')}" if number else None,
    "accounts.update": lambda change: f"sets the limit to {change.max_concurrent_tasks}",
    "waiting.take_due": lambda due: f"takes {_count(len(due), 'task')} that became due",
    "waiting.reserve": lambda reservations: (
        f"may admit {sum(reservation.admitted for reservation in reservations.values())}"
    ),
}


def lines(model: Interleaving, found: CounterExample[Traffics]) -> Iterator[str]:
    """The participants, what each step does, and what is wrong then."""
    calls = [event.what[0] for event, _ in found.steps if isinstance(event.what, tuple)]
    names = list(dict.fromkeys(map(_participant, calls)))
    ids = {name: f"P{place}" for place, name in enumerate(names)}
    yield from (f"participant {ids[name]} as {name}" for name in names)
    yield "participant D as PostgreSQL"
    for event, state in found.steps:
        if not isinstance(event.what, tuple):
            yield f"Note over D: {event.name}"
            continue
        call, before = event.what
        after = next((number for call_under_way, number in state.under_way if call_under_way == call), None)
        for text in _said(model.transaction(before), None if after is None else model.transaction(after)):
            yield f"{ids[_participant(call)]}->>D: {text}"
    yield f"Note over D: {found.wrong}"


def _participant(call: Call) -> str:
    return f"replica {call.replica + 1}" if call.replica >= 0 else _WHO[call.kind]


def _said(before: UnderWay, after: UnderWay | None) -> Iterator[str]:
    """Yields what a step's statements did; without a transaction after it, it was the commit."""
    if after is None:
        yield "commits"
        return
    if after.seen and not before.seen:
        yield "reads the tables"
    begin = len(before.answers)
    for name, answer in zip(after.asked[begin:], after.answers[begin:], strict=True):
        text = _SAYS[name](answer) if name in _SAYS else None
        if text:
            yield text
