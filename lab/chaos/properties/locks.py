"""Another session's lock on some rows delays only what needs those rows; health reports a locked table."""

from __future__ import annotations

from collections.abc import Iterator

from lab.chaos.evidence import ROW_LOCK, TABLE_LOCK, Evidence, Fault, Journals
from lab.chaos.violation import Violation

NAME = "locks"
_SETTLED = 3.0
"""Seconds after which whoever met the lock has set aside what needs it, or health says that work stands still."""
_AFTERMATH = 12.0
"""Seconds for which another fault may be felt after its end."""
_STATED = frozenset({"leases", "workers"})
"""Tables that each heartbeat of a worker needs."""


def locks(evidence: Evidence) -> Iterator[Violation]:
    """Of locks that lasted long enough, while no other fault of schedulers, PostgreSQL or their wires was felt."""
    journals = evidence.journals
    for fault in journals.faults:
        if fault.duration > _SETTLED + 1.0 and not _disturbed(fault, journals):
            if fault.kind == ROW_LOCK:
                yield from (
                    Violation(NAME, "", f"{problem} ({_named(fault)})") for problem in _held_up(fault, journals)
                )
            elif fault.kind == TABLE_LOCK and fault.tables in _STATED and not _told(fault, journals):
                yield Violation(NAME, "", f"no scheduler said NOT_SERVING while its work stood still ({_named(fault)})")


def _held_up(fault: Fault, journals: Journals) -> Iterator[str]:
    begin, end = fault.time + _SETTLED, fault.time + fault.duration
    acknowledged = [probe.time for probe in journals.probes] + [submit.time for submit in journals.submits]
    if not any(begin < time < end for time in acknowledged):
        yield f"no submit was acknowledged for {end - begin:.1f} s"
    for reading in journals.health:
        if begin < reading.time < end and not reading.serving:
            yield f"{reading.scheduler} said NOT_SERVING"


def _told(fault: Fault, journals: Journals) -> bool:
    return any(
        fault.time < reading.time < fault.time + fault.duration and not reading.serving for reading in journals.health
    )


def _disturbed(fault: Fault, journals: Journals) -> bool:
    """Returns whether another fault, but for one of a worker, was felt meanwhile."""
    return any(
        not rival.victim.startswith("worker")
        and rival is not fault
        and rival.time < fault.time + fault.duration
        and fault.time < rival.time + rival.duration + _AFTERMATH
        for rival in journals.faults
    )


def _named(fault: Fault) -> str:
    return f"another session held {fault.tables} for {fault.duration:.1f} s"
