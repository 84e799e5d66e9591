"""What a campaign shows in numbers, computed from its evidence, and the tables of lab/results/reliability.md. Pure.

Beside the checker: that says whether promises were kept, this how well.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from lab.benchmarks import kept
from lab.benchmarks.kept import Part
from lab.chaos.evidence import Evidence, Fault, Run
from lab.chaos.faults import KINDS
from lab.chaos.fleet import LEASE
from lab.chaos.properties.results import side_by_side
from scheduler_svc.domain.lifecycle import Status

PART = Part("<!-- figures of a run, by --publish -->", "<!-- end of the figures -->")
"""Of a document that has them."""
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
    n: int
    p50: float
    p99: float
    longest: float

    @classmethod
    def of(cls, durations: Iterable[float]) -> Spread | None:
        """Returns that by nearest rank; None where there is none."""
        ordered = sorted(durations)
        n = len(ordered)
        ranks = (round(ordered[math.ceil(share * n) - 1], 2) for share in (0.5, 0.99, 1))
        return cls(n, *ranks) if n else None


@dataclass(frozen=True, slots=True)
class Figures:
    """All of them; `table` names each as lab/results/reliability.md defines it."""

    tasks: Mapping[str, int]
    """Acknowledged tasks by what became of them."""
    faults: Mapping[str, int]
    runs: int
    lost: int
    """Acknowledged tasks that are not in the database."""
    twice: int
    """Tasks with more than one content, or contents with more than one entry in the pool."""
    beside: int
    """Pairs of runs of one task that were alive at the same time."""
    duplicates: int
    """Runs that gave a result although an earlier run of their task had: what was paid for twice."""
    again: Spread | None
    elsewhere: Spread | None
    elsewhere_undisturbed: Spread | None
    files: int
    ticks: int
    events: int
    """That the webhook's receiver has accepted, by their ids."""
    deliveries: int
    scheduler_submit: Spread | None
    database_submit: Spread | None
    database_completion: Spread | None

    @property
    def kills(self) -> int:
        return sum(self.faults.get(kind, 0) for kind in KILLS)

    @property
    def duplicates_per_10_000_kills(self) -> float:
        return round(self.duplicates * 10_000 / self.kills, 1) if self.kills else 0.0

    def document(self) -> dict[str, object]:
        return {**asdict(self), "kills": self.kills, "duplicates_per_10_000_kills": self.duplicates_per_10_000_kills}


def figures(evidence: Evidence) -> Figures:
    journals, stored = evidence.journals, evidence.stored
    blows = _blows(journals.faults)
    kills = [blow for blow in blows if blow.planned in _OF_WORKER]
    pairs = list(_next_runs(kills, journals.runs))
    away = [(kill, start) for kill, start in pairs if kill.duration > LEASE and kill.planned != "guard-kill"]
    shared = sorted(blow.boottime for blow in blows if blow.planned.startswith(_SHARED))
    acknowledged = {submit.task_id for submit in journals.submits}
    moves = (event for events in stored.events.values() for event in events)
    completions = sorted((move.time, move.time) for move in moves if move.status is Status.COMPLETED)
    probes = [(probe.sent, probe.time) for probe in journals.probes]
    printed = Counter(run.task_id for run in journals.runs if run.printed)
    of_scheduler = [blow.time for blow in blows if blow.planned == "scheduler-kill"]
    of_database = [blow.time for blow in blows if blow.planned in _OF_DATABASE]
    return Figures(
        tasks=dict(Counter(stored.tasks[task_id].status.label for task_id in acknowledged & set(stored.tasks))),
        faults=dict(Counter(blow.planned for blow in blows)),
        runs=len(journals.runs),
        lost=len(acknowledged - set(stored.tasks)),
        twice=_doubled(content.task_id for content in stored.contents) + _doubled(stored.pool),
        beside=sum(1 for _ in side_by_side(journals.runs)),
        duplicates=printed.total() - len(printed),
        again=Spread.of(start - kill.boottime for kill, start in pairs),
        elsewhere=Spread.of(start - kill.boottime for kill, start in away),
        elsewhere_undisturbed=Spread.of(
            start - kill.boottime for kill, start in away if not _any_within(shared, kill.boottime - LEASE, start)
        ),
        files=sum(bool(name) for content in stored.contents for name in content.assets),
        ticks=len(stored.ticks),
        events=len({delivery.event_id for delivery in journals.received if delivery.accepted}),
        deliveries=len(journals.received),
        scheduler_submit=Spread.of(_until_next(of_scheduler, probes)),
        database_submit=Spread.of(_until_next(of_database, probes)),
        database_completion=Spread.of(_until_next(of_database, completions)),
    )


def _blows(faults: Sequence[Fault]) -> list[Fault]:
    """Returns one of each fault of the plan, whichever number of victims it had: the first."""
    return list({(fault.planned, fault.at): fault for fault in reversed(faults)}.values())


def _next_runs(kills: Iterable[Fault], runs: Iterable[Run]) -> Iterator[tuple[Fault, float]]:
    """Yields, of each run that a kill has ended, the kill and when the task's next run began."""
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


def _until_next(begins: Iterable[float], ends: Sequence[tuple[float, float]]) -> Iterator[float]:
    """From each begin to what follows it first: of pairs in order, whose first part is later, the second one."""
    for begin in begins:
        following = bisect.bisect_right(ends, (begin, math.inf))
        if following < len(ends):
            yield ends[following][1] - begin


def _any_within(ordered: Sequence[float], begin: float, end: float) -> bool:
    position = bisect.bisect_left(ordered, begin)
    return position < len(ordered) and ordered[position] <= end


def _doubled(keys: Iterable[object]) -> int:
    return sum(count > 1 for count in Counter(keys).values())


def table(figures: Figures) -> str:
    """Returns Markdown, to be put into the docs as it is."""
    return kept.table(("figure", "value"), _rows(figures))


def _rows(figures: Figures) -> Iterator[tuple[str, str]]:
    kills = ", ".join(f"{figures.faults[kind]:,} {kind}" for kind in KILLS if figures.faults.get(kind))
    other_kinds = [kind.name for kind in KINDS if kind.name not in KILLS and figures.faults.get(kind.name)]
    yield "kills survived", f"**{figures.kills:,}**: {kills}"
    yield "other faults", ", ".join(f"{figures.faults[kind]:,} {kind}" for kind in other_kinds)
    by_status = ", ".join(f"{count:,} {status}" for status, count in sorted(figures.tasks.items()))
    yield "acknowledged tasks", f"{sum(figures.tasks.values()):,}: {by_status}"
    yield "lost", f"**{figures.lost}**"
    yield "twice", f"**{figures.twice}**"
    yield "runs of the CLI", f"{figures.runs:,}"
    yield "runs of a task side by side", f"{figures.beside}"
    share = figures.duplicates_per_10_000_kills
    yield "duplicate runs per 10,000 kills", f"**{share:g}** ({figures.duplicates:,} in all)"
    yield "files that contents name", f"{figures.files:,}"
    yield "ticks of schedules", f"{figures.ticks:,}"
    yield "events of the webhook", f"{figures.events:,}, in {figures.deliveries:,} deliveries"
    yield "a worker's kill → its task runs again", _spread(figures.again)
    yield f"… where the worker stayed away for longer than a lease ({LEASE:g} s)", _spread(figures.elsewhere)
    yield "… and no scheduler and no PostgreSQL was hurt meanwhile", _spread(figures.elsewhere_undisturbed)
    yield "a scheduler's kill → the next acknowledged submit", _spread(figures.scheduler_submit)
    yield "PostgreSQL's kill → the next acknowledged submit", _spread(figures.database_submit)
    yield "PostgreSQL's kill → the next completed task", _spread(figures.database_completion)


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "none"
    return f"p50 {spread.p50:g} s, p99 {spread.p99:g} s, longest {spread.longest:g} s ({spread.n:,})"


def kinds() -> str:
    """Returns, as Markdown, every kind of fault, how often it is chosen, and how long it lasts."""
    total = sum(kind.weight for kind in KINDS)
    lasts = {kind: f"{kind.shortest:g}–{kind.longest:g} s" if kind.longest else "a moment" for kind in KINDS}
    rows = ((f"`{kind.name}`", f"{100 * kind.weight / total:.2g}", lasts[kind], kind.does) for kind in KINDS)
    return kept.table(("fault", "of 100", "lasts", "what it does"), rows)
