"""Counter-examples as sequence diagrams, for docs/protocol.md; `--write` puts them there.

Each stands between markers, made from the shortest trace of its mutant. tests/lab/test_model.py, which
explores the mutants anyway, checks that the document shows them.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lab.model import transaction_diagrams
from lab.model.explore import CounterExample, Event, System
from lab.model.interleaving import Interleaving
from lab.model.messages import (
    Assignment,
    Hello,
    Report,
    ReportAcknowledged,
    State,
    StateAcknowledged,
    ToWorker,
    Welcome,
)
from lab.model.mutants import MUTANTS, Mutant
from lab.model.system import Model
from lab.model.whole import Whole

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
_BEGIN, _END = "<!-- counter-examples: made by python -m lab.model.diagrams --write -->\n", "<!-- end -->\n"

_SENT = ("connect", "state", "report", "assign")
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
_OUTCOMES = {1: "COMMITTED", 2: "ALREADY_COMMITTED", 3: "LEASE_LOST"}


def main(arguments: list[str]) -> int:
    """Prints the sections, or writes them into the document."""
    text = document_with(section(mutant, *_counter_example(mutant)) for mutant in MUTANTS)
    if "--write" in arguments:
        DOCUMENT.write_text(text)
    else:
        print(text)
    return 0


def _counter_example(mutant: Mutant) -> tuple[System[Any], CounterExample[Any]]:
    model, exploration = mutant.explore()
    if exploration.counter_example is None:
        raise SystemExit(f"{mutant.name}: no counter-example is found")
    return model, exploration.counter_example


def document_with(sections: Iterable[str]) -> str:
    """docs/protocol.md with these sections in their place."""
    head, remainder = DOCUMENT.read_text().split(_BEGIN)
    tail = remainder.split(_END, 1)[1]
    return head + _BEGIN + "\n" + "\n".join(sections) + "\n" + _END + tail


def section(mutant: Mutant, model: System[Any], found: CounterExample[Any]) -> str:
    """A mutant's section: what is taken out, what it leads to, and how."""
    caption = textwrap.fill(f"{mutant.without} After {len(found.steps)} steps: {found.wrong}.", 120)
    head = f"### {mutant.name} ({mutant.rule})\n\n{caption}"
    draw: Callable[[Any, CounterExample[Any]], Iterator[str]] = _of_protocol
    if isinstance(model, Interleaving):
        draw = transaction_diagrams.lines
    lines = ["sequenceDiagram", *(f"    {line}" for line in draw(model, found))]
    return "\n".join([head, "", "```mermaid", *lines, "```", ""])


def _of_protocol(model: Model, example: CounterExample[Whole]) -> Iterator[str]:
    yield from ("participant A as worker A", "participant S as schedulers and database")
    if model.scenario.rival:
        yield "participant R as worker R"
    yield from _lines(model, example.steps)
    yield f"Note over A,S: {example.wrong}"


def _lines(model: Model, steps: Sequence[tuple[Event, Whole]]) -> Iterator[str]:
    intervals = 0
    before: Whole | None = None
    for index, (event, whole) in enumerate(steps):
        following = steps[index + 1][0] if index + 1 < len(steps) else None
        if event.name == "reaper" and before is not None and not _ends_a_lease(model, before, whole):
            continue
        before = whole
        if event.name == "time passes":
            intervals += 1
            continue
        if intervals:
            yield _later(intervals)
            intervals = 0
        if (line := _line(event, following)) is not None:
            yield line
    if intervals:
        yield _later(intervals)


def _later(intervals: int) -> str:
    return f"Note over A,S: {intervals} heartbeat interval{'s' * (intervals > 1)} later"


def _ends_a_lease(model: Model, before: Whole, after: Whole) -> bool:
    return len(model.tables(after).leases) < len(model.tables(before).leases)


def _line(event: Event, following: Event | None) -> str | None:
    """What is drawn of an event; None for a message that arrives at once: its arrival shows it."""
    if event.name in _SENT:
        arrives = following is not None and following.what == event.what and following.name in ("take", "hear")
        return None if arrives else f"{'S--)A' if event.name == 'assign' else 'A--)S'}: {_text(event.what)} is sent"
    if event.name in _ARRIVES:
        arrow, suffix = _ARRIVES[event.name]
        return f"{arrow}: {_text(event.what)}{suffix}"
    if event.name == "finish":
        return f"Note over A: its CLI has produced a result for lease {_lease(str(event.what))}, which is spooled"
    return _DRAWN.get(event.name, f"Note over A,S: {event.name}")


def _text(message: object) -> str:
    return _downward(message) if isinstance(message, ToWorker) else _upward(message)


def _upward(message: object) -> str:
    match message:
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
            outcomes = (f"{_lease(lease_id)} {_OUTCOMES[outcome]}" for lease_id, _, outcome in message.outcomes)
            return f"Acknowledgement of report {message.number} ({', '.join(outcomes)})"


def _named(words: str, leases: tuple[tuple[str, int], ...]) -> str:
    return f"{words} {', '.join(_lease(lease_id) for lease_id, _ in leases)}" if leases else ""


def _lease(lease_id: str) -> str:
    """`1.2` is the second lease of the first task."""
    task, fence = re.findall(r"[0-9a-f]+$|(?<=-)[0-9a-f]{16}", lease_id)
    return f"{int(task, 16)}.{int(fence, 16)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
