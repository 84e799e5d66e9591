"""What a campaign shows in numbers, computed from its evidence alone; docs/reliability.md defines each. Pure.

Beside the checker: that says whether promises were kept, this how well.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from lab.chaos.evidence import Evidence, Fault, Probe, Run
from lab.chaos.plan import KINDS, LEASE
from lab.chaos.properties.results import side_by_side
from scheduler_svc.domain.lifecycle import Status

KILLS = tuple(kind.name for kind in KINDS if kind.name.endswith(("-kill", "-loss")))
"""Kinds of faults that are kill -9, in the order of the plan's table."""
_OF_DATABASE = frozenset({"backend-kill", "postmaster-kill", "postgres-kill", "everything-kill"})
_OF_WORKER = frozenset({"worker-kill", "worker-loss", "guard-kill", "machine-kill"})
_SHARED = ("scheduler", "client", "store", "post", "backend", "no-connections", "everything")
"""How kinds begin that hurt more than one worker."""
_LAST_BEAT = 0.6
"""Seconds before a kill within which a run that it ended has given a sign of life."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Durations in seconds, and how many there are."""

    n: int
    p50: float
    p99: float
    longest: float

    @classmethod
    def of(cls, durations: Iterable[float]) -> Spread | None:
        """By nearest rank; None where there is none."""
        ordered = sorted(durations)
        if not ordered:
            return None
        return cls(len(ordered), _rank(ordered, 0.5), _rank(ordered, 0.99), round(ordered[-1], 2))


def _rank(ordered: Sequence[float], share: float) -> float:
    return round(ordered[math.ceil(share * len(ordered)) - 1], 2)


@dataclass(frozen=True, slots=True)
class Figures:
    """All of them."""

    tasks: Mapping[str, int]
    """Acknowledged tasks by what became of them."""
    faults: Mapping[str, int]
    """By kind."""
    runs: int
    """Of the CLI."""
    lost: int
    """Acknowledged tasks that are not in the database."""
    twice: int
    """Tasks with more than one content, or contents with more than one entry in the pool."""
    beside: int
    """Pairs of runs of one task that were alive at the same time."""
    duplicates: int
    """Runs that gave a result although an earlier run of their task had: what was paid for twice."""
    again: Spread | None
    """From a worker's or its guard's kill to the next run of the task that it ran, anywhere."""
    elsewhere: Spread | None
    """The same where the worker stayed away for longer than a lease."""
    elsewhere_undisturbed: Spread | None
    """Of these, where no scheduler and no PostgreSQL was hurt meanwhile."""
    files: int
    """Files that contents name."""
    ticks: int
    """Ticks of schedules that ran."""
    events: int
    """Events that the webhook's receiver has accepted, by their ids."""
    deliveries: int
    """Requests that it took."""
    scheduler_submit: Spread | None
    """From a scheduler's kill to the next submit that was acknowledged, by any scheduler."""
    database_submit: Spread | None
    """From a kill of PostgreSQL to the next submit that was acknowledged."""
    database_completion: Spread | None
    """From a kill of PostgreSQL to the next task that completed."""

    @property
    def kills(self) -> int:
        return sum(self.faults.get(kind, 0) for kind in KILLS)

    @property
    def duplicates_per_10_000_kills(self) -> float:
        return round(self.duplicates * 10_000 / self.kills, 1) if self.kills else 0.0

    def document(self) -> dict[str, object]:
        """Returns the figures as JSON has them."""
        return {**asdict(self), "kills": self.kills, "duplicates_per_10_000_kills": self.duplicates_per_10_000_kills}


def figures(evidence: Evidence) -> Figures:
    """Returns the figures of a campaign that is over."""
    journals, stored = evidence.journals, evidence.stored
    blows = _blows(journals.faults)
    kills = [blow for blow in blows if blow.planned in _OF_WORKER]
    pairs = list(_next_runs(kills, journals.runs))
    away = [(kill, start) for kill, start in pairs if kill.duration > LEASE and kill.planned != "guard-kill"]
    shared = sorted(blow.boottime for blow in blows if blow.planned.startswith(_SHARED))
    acknowledged = {submit.task_id for submit in journals.submits}
    completions = sorted(
        event.time for events in stored.events.values() for event in events if event.status is Status.COMPLETED
    )
    of_scheduler = [blow.time for blow in blows if blow.planned == "scheduler-kill"]
    of_database = [blow.time for blow in blows if blow.planned in _OF_DATABASE]
    return Figures(
        tasks=_counted(stored.tasks[task_id].status.name.lower() for task_id in acknowledged & set(stored.tasks)),
        faults=_counted(blow.planned for blow in blows),
        runs=len(journals.runs),
        lost=len(acknowledged - set(stored.tasks)),
        twice=_doubled(content.task_id for content in stored.contents) + _doubled(stored.pool),
        beside=sum(1 for _ in side_by_side(journals.runs)),
        duplicates=_duplicates(journals.runs),
        again=Spread.of(start - kill.boottime for kill, start in pairs),
        elsewhere=Spread.of(start - kill.boottime for kill, start in away),
        elsewhere_undisturbed=Spread.of(
            start - kill.boottime for kill, start in away if not _any_within(shared, kill.boottime - LEASE, start)
        ),
        files=sum(bool(name) for content in stored.contents for name in content.assets),
        ticks=len(stored.ticks),
        events=len({delivery.event_id for delivery in journals.received if delivery.accepted}),
        deliveries=len(journals.received),
        scheduler_submit=Spread.of(_next_probes(of_scheduler, journals.probes)),
        database_submit=Spread.of(_next_probes(of_database, journals.probes)),
        database_completion=Spread.of(_until_next(of_database, completions)),
    )


def _duplicates(runs: Iterable[Run]) -> int:
    """Returns how many results were given beyond the first of each task."""
    counts = Counter(run.task_id for run in runs if run.given)
    return counts.total() - len(counts)


def _blows(faults: Iterable[Fault]) -> list[Fault]:
    """One of each fault of the plan, whichever number of victims it had: the first."""
    first: dict[tuple[str, float], Fault] = {}
    for fault in faults:
        first.setdefault((fault.planned, fault.at), fault)
    return list(first.values())


def _next_runs(kills: Iterable[Fault], runs: Iterable[Run]) -> Iterator[tuple[Fault, float]]:
    """Of each run that a kill has ended: the kill, and when the task's next run began."""
    of_worker: dict[str, list[Run]] = defaultdict(list)
    starts: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        of_worker[run.worker].append(run)
        starts[run.task_id].append(run.boottime)
    for kill in kills:
        for run in of_worker[kill.victim.partition("/")[0]]:
            is_killed = run.status is None and run.boottime <= kill.boottime < run.last + _LAST_BEAT
            later = [start for start in starts[run.task_id] if start > kill.boottime] if is_killed else []
            if later:
                yield kill, min(later)


def _until_next(begins: Iterable[float], ends: Sequence[float]) -> Iterator[float]:
    """From each begin to the first of the sorted ends after it."""
    for begin in begins:
        following = bisect.bisect_right(ends, begin)
        if following < len(ends):
            yield ends[following] - begin


def _next_probes(begins: Iterable[float], probes: Sequence[Probe]) -> Iterator[float]:
    """From each begin to the acknowledgement of the first probe that was sent after it."""
    times = [probe.sent for probe in probes]
    for begin in begins:
        following = bisect.bisect_right(times, begin)
        if following < len(times):
            yield probes[following].time - begin


def _any_within(ordered: Sequence[float], begin: float, end: float) -> bool:
    position = bisect.bisect_left(ordered, begin)
    return position < len(ordered) and ordered[position] <= end


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names))


def _doubled(keys: Iterable[object]) -> int:
    return sum(count > 1 for count in Counter(keys).values())
