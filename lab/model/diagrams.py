"""Counter-examples as sequence diagrams, for lab/results/counter-examples.md; `--write` puts them there.

Each stands between markers, made from the shortest trace of its mutant. tests/lab/test_model.py, which
explores the mutants anyway, checks that the document shows them.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any

from lab.benchmarks.kept import Part
from lab.model.explore import CounterExample, Event, System
from lab.model.interleaving import Call, Interleaving, Traffics
from lab.model.mutants import MUTANTS, Mutant
from lab.model.process import Assignment, Hello, Report, ReportAcknowledged, State, StateAcknowledged, ToWorker, Welcome
from lab.model.scheduler import Whole
from lab.model.system import Model
from lab.model.transactions import UnderWay
from scheduler_svc.domain.lease import Outcome

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


def transaction_lines(model: Interleaving, example: CounterExample[Traffics]) -> Iterator[str]:
    """Yields the participants, what each step does, and what is wrong then."""
    calls = [event.what[0] for event, _ in example.steps if isinstance(event.what, tuple)]
    names = list(dict.fromkeys(map(_participant, calls)))
    ids = {name: f"P{place}" for place, name in enumerate(names)}
    yield from (f"participant {ids[name]} as {name}" for name in names)
    yield "participant D as PostgreSQL"
    for event, state in example.steps:
        if not isinstance(event.what, tuple):
            yield f"Note over D: {event.name}"
            continue
        call, before = event.what
        after = next((number for call_under_way, number in state.under_way if call_under_way == call), None)
        for text in _actions(model.transaction(before), None if after is None else model.transaction(after)):
            yield f"{ids[_participant(call)]}->>D: {text}"
    yield f"Note over D: {example.wrong}"


def _participant(call: Call) -> str:
    return f"replica {call.replica + 1}" if call.replica >= 0 else _WHO[call.kind]


def _actions(before: UnderWay, after: UnderWay | None) -> Iterator[str]:
    """Yields what a step's statements did; without a transaction after it, it was the commit."""
    if after is None:
        yield "commits"
        return
    if after.seen and not before.seen:
        yield "reads the tables"
    begin = len(before.answers)
    for name, answer in zip(after.statements[begin:], after.answers[begin:], strict=True):
        text = _SAYS[name](answer) if name in _SAYS else None
        if text:
            yield text


DOCUMENT = Path(__file__).parents[1] / "results" / "counter-examples.md"
_PART = Part("<!-- counter-examples: made by python -m lab.model.diagrams --write -->", "<!-- end -->")

_ARRIVES = {"take": ("A->>S", ""), "take late": ("A->>S", " arrives, late"), "hear": ("S->>A", "")}
_DRAWN = {
    "claim": "Note over S: a claim is committed",
    "reaper": "Note over S: the reaper ends the lease as lost",
    "the other worker claims": "S->>R: a new lease of the task",
    "the other worker completes": "R->>S: Report (completed)",
    "cut": "Note over A: its stream ends",
    "network fails": "Note over A: it cannot reach any scheduler",
    "database goes away": "Note over S: the database goes away",
    "database returns": "Note over S: the database returns",
    "database clock jumps": "Note over S: the database's clock jumps by a heartbeat interval",
}


def main() -> None:
    sections = "\n".join(section(mutant, *_counter_example(mutant)) for mutant in MUTANTS)
    text = _PART.replaced(DOCUMENT.read_text(), f"\n\n{sections}\n")
    if "--write" in sys.argv:
        DOCUMENT.write_text(text)
    else:
        print(text)


def _counter_example(mutant: Mutant) -> tuple[System[Any], CounterExample[Any]]:
    model, exploration = mutant.explore()
    if exploration.counter_example is None:
        raise SystemExit(f"{mutant.name}: no counter-example is found")
    return model, exploration.counter_example


def section(mutant: Mutant, model: System[Any], example: CounterExample[Any]) -> str:
    """Returns a mutant's section: what is taken out, what it leads to, and how."""
    caption = textwrap.fill(f"{mutant.without} After {len(example.steps)} steps: {example.wrong}.", 120)
    head = f"### {mutant.name} ({mutant.rule})\n\n{caption}"
    draw: Callable[[Any, CounterExample[Any]], Iterator[str]] = _of_protocol
    if isinstance(model, Interleaving):
        draw = transaction_lines
    lines = ["sequenceDiagram", *(f"    {line}" for line in draw(model, example))]
    return "\n".join([head, "", "```mermaid", *lines, "```", ""])


def _of_protocol(model: Model, example: CounterExample[Whole]) -> Iterator[str]:
    yield from ("participant A as worker A", "participant S as schedulers and database")
    if model.scenario.rival:
        yield "participant R as worker R"
    for is_time, lines in groupby(_lines(model, example.steps), key=lambda line: line == "time passes"):
        if is_time:
            yield f"Note over A,S: {_count(len(list(lines)), 'heartbeat interval')} later"
        else:
            yield from lines
    yield f"Note over A,S: {example.wrong}"


def _lines(model: Model, steps: Sequence[tuple[Event, Whole]]) -> Iterator[str]:
    """Yields what is drawn, but `time passes` for each unit of time."""
    leases: int | None = None
    for (event, state), following in zip_longest(steps, [event for event, _ in steps[1:]]):
        former, present = leases, len(model.tables(state).leases)
        if event.name == "reaper" and former is not None and present >= former:
            continue
        leases = present
        if (line := "time passes" if event.name == "time passes" else _line(event, following)) is not None:
            yield line


def _line(event: Event, following: Event | None) -> str | None:
    """Returns what is drawn of an event; None for a message that arrives at once: its arrival shows it."""
    if event.name in ("connect", "state", "report", "assign"):
        arrives = following is not None and following.what == event.what and following.name in ("take", "hear")
        return None if arrives else f"{'S--)A' if event.name == 'assign' else 'A--)S'}: {_text(event.what)} is sent"
    if event.name in _ARRIVES:
        arrow, suffix = _ARRIVES[event.name]
        return f"{arrow}: {_text(event.what)}{suffix}"
    if event.name == "finish":
        return f"Note over A: its CLI has produced a result for lease {_lease(str(event.what))}, which is spooled"
    return _DRAWN.get(event.name, f"Note over A,S: {event.name}")


def _text(message: object) -> str:
    match message:
        case Welcome() | Assignment() | StateAcknowledged() | ReportAcknowledged():
            return _downward(message)
        case Hello():
            return f"Hello (session {message.session_number}{_named(', holds', message.held)})"
        case State():
            suffix = f", has read assignment {message.last_assignment}" if message.last_assignment else ""
            return f"Heartbeat {message.number} (free {message.free_slots}{_named(', holds', message.held)}{suffix})"
        case Report():
            words = (f"{_lease(word.lease_id)} {word.kind.name}" for word in message.words)
            return f"Report {message.number} ({', '.join(words)})"
        case _:
            raise AssertionError(f"no message: {message!r}")


def _downward(message: ToWorker) -> str:
    match message:
        case Welcome():
            return f"Welcome{_named(', drop', tuple((lease_id, 0) for lease_id in message.drop))}"
        case Assignment():
            leases = _named(", lease", message.leases)
            return f"Assignment {message.number} for heartbeat {message.heartbeat_number}{leases}"
        case StateAcknowledged():
            lease_refs = tuple((lease_id, 0) for lease_id in message.not_renewed)
            return f"Acknowledgement of heartbeat {message.number}{_named(', not renewed', lease_refs)}"
        case ReportAcknowledged():
            outcomes = (f"{_lease(lease_id)} {Outcome(outcome).name}" for lease_id, _, outcome in message.outcomes)
            return f"Acknowledgement of report {message.number} ({', '.join(outcomes)})"


def _named(words: str, leases: tuple[tuple[str, int], ...]) -> str:
    return f"{words} {', '.join(_lease(lease_id) for lease_id, _ in leases)}" if leases else ""


def _lease(lease_id: str) -> str:
    """Returns such as `1.2` for the second lease of the first task."""
    task, fence = re.findall(r"[0-9a-f]+$|(?<=-)[0-9a-f]{16}", lease_id)
    return f"{int(task, 16)}.{int(fence, 16)}"


if __name__ == "__main__":
    main()
