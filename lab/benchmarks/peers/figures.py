"""Who is compared, each at its best; and figures of runs, kept as JSON lines, with their tables and plots."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from lab.benchmarks import conditions
from lab.benchmarks.conditions import Conditions
from lab.benchmarks.kept import made_by, pyplot, read_lines, save, table


class Store(Enum):
    POSTGRES = "PostgreSQL"
    REDIS = "Redis"
    REDIS_ALWAYS = "Redis, appendfsync always"

    @property
    def is_redis(self) -> bool:
        return self is not Store.POSTGRES


_SUFFIXES = {Store.POSTGRES: "", Store.REDIS: "-redis", Store.REDIS_ALWAYS: "-redis-always"}
_APPS = "lab.benchmarks.peers.apps"
CONTENTGEN = "contentgen"


@dataclass(frozen=True, slots=True)
class Contender:
    """`share` of the tasks of a run keeps a slow one within the time.

    `leaves` says what a task leaves whose handler does nothing, and whether a late worker is fenced off.
    `keeps_results`: of 2 KB, in its own store.
    """

    name: str
    store: Store
    packages: tuple[str, ...]
    settings: str
    leaves: str
    share: float = 1
    starts: tuple[str, ...] = ()
    """What starts one worker process, after `python`. Without it the module of the peer is a script that does."""
    has_bulk: bool = False
    keeps_results: bool = True
    drain_is_our_job: bool = False

    @property
    def key(self) -> str:
        """Names it on the command line and in the figures."""
        return self.name + _SUFFIXES[self.store]

    @property
    def module(self) -> str:
        return f"with_{self.name}"

    @property
    def worker(self) -> tuple[str, ...]:
        return self.starts or ("-m", f"{_APPS}.{self.module}")


_NOTHING = "nothing: the row is deleted; no result, no fence"
_FOR_MINUTES = "the result for 10 minutes; no fence"
OURS = Contender(
    CONTENTGEN, Store.POSTGRES, ("contentgen-grpc", "grpcio", "psycopg2-binary", "uvloop"),
    "1 scheduler, 2,000 leases a worker, batches of 500", "the result and its pool row, one commit; every write fenced",
    has_bulk=True, keeps_results=False, drain_is_our_job=True,
)  # fmt: skip
_ON_POSTGRES = (
    Contender(
        "pgqueuer", Store.POSTGRES, ("pgqueuer", "asyncpg", "uvloop"),
        "batch_size 500, uvloop, asyncpg; durable tables", _NOTHING, has_bulk=True, keeps_results=False,
    ),
    Contender(
        "procrastinate", Store.POSTGRES, ("procrastinate", "psycopg", "uvloop"),
        "concurrency 30, delete_jobs always, uvloop", _NOTHING, 0.2, has_bulk=True, keeps_results=False,
    ),
    Contender("saq", Store.POSTGRES, ("saq", "psycopg", "uvloop"), "concurrency 100, uvloop", _FOR_MINUTES, 0.2),
)  # fmt: skip


def _on_redis(store: Store) -> tuple[Contender, ...]:
    slower = 0.5 if store is Store.REDIS_ALWAYS else 1
    celery = ("-m", "celery", "-A", f"{_APPS}.with_celery", "worker", "-P", "solo", "--prefetch-multiplier", "200")
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING")
    dramatiq = ("-m", "dramatiq", "--processes", "1", "--threads", "4", f"{_APPS}.with_dramatiq")
    taskiq = ("-m", "taskiq", "worker", "--workers", "1", "--max-async-tasks", "1000", "--ack-type", "when_received")
    taskiq_app = ("--log-level", "WARNING", f"{_APPS}.with_taskiq:broker")
    return (
        Contender(
            "celery", store, ("celery", "kombu", "redis"),
            "-P solo, prefetch 200, without gossip, mingle and heartbeat",
            "the result for a day; acknowledged before it runs, no fence", 0.2 * slower, (*celery, *quiet),
        ),
        Contender(
            "dramatiq", store, ("dramatiq", "redis"),
            "4 threads a process, prefetch 1,000", _FOR_MINUTES, 0.5 * slower, dramatiq,
        ),
        Contender(
            "taskiq", store, ("taskiq", "taskiq-redis", "redis", "uvloop"),
            "stream broker, 1,000 async tasks, ack when_received, uvloop",
            "the result; acknowledged before it runs, no fence", 0.5 * slower, (*taskiq, *taskiq_app),
        ),
        Contender(
            "saq", store, ("saq", "redis", "hiredis", "uvloop"),
            "concurrency 100, uvloop, hiredis", _FOR_MINUTES, 0.5 * slower,
        ),
    )  # fmt: skip


PEERS = (*_ON_POSTGRES, *_on_redis(Store.REDIS), *_on_redis(Store.REDIS_ALWAYS))
ALL = (OURS, *PEERS)


# The figures of runs.


ENQUEUE = "enqueue"
BULK = "bulk"
DRAIN_1 = "drain-1"
DRAIN_2 = "drain-2"
OUR_JOB = "our-job"
IDLE_P50 = "idle-p50"
IDLE_P99 = "idle-p99"


@dataclass(frozen=True, slots=True)
class Run(Conditions):
    versions: dict[str, str]
    settings: dict[str, str]
    tasks: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value, of so many tasks or samples."""

    peer: str
    measure: str
    round: int
    value: float
    count: int
    unit: str = "tasks/s"


@dataclass(frozen=True, slots=True)
class Median:
    value: float
    low: float
    high: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Kept:
    runs: tuple[Run, ...]
    figures: tuple[Figure, ...]

    def median(self, peer: str, measure: str) -> Median | None:
        values = [figure.value for figure in self.figures if (figure.peer, figure.measure) == (peer, measure)]
        return Median(statistics.median(values), min(values), max(values), len(values)) if values else None


def read_figures(lines: Iterable[str]) -> Kept:
    """Raises ValueError where a line is of something else."""
    return Kept(*read_lines(lines, (Run, Figure), "lab.benchmarks.peers"))


_HEAD = (
    *("queue", "its tasks are in", "enqueue 1 by 1", "in bulk", "no-op handler, 1 / 2 workers"),
    *("what that leaves", "our job, 2 workers", "idle p50 / p99, ms"),
)
PAGE = made_by(
    "python -m lab.benchmarks.peers --from lab/benchmarks/results/peers.jsonl --page lab/results/performance.md"
)


def tables(kept: Kept) -> str:
    contenders = [contender for contender in ALL if any(figure.peer == contender.key for figure in kept.figures)]
    medians = table(_HEAD, (_row(kept, contender) for contender in contenders))
    return "\n\n".join((medians, _settings(kept.runs, contenders), *_conditions(kept)))


def _row(kept: Kept, contender: Contender) -> tuple[str, ...]:
    def rate(measure: str, form: str = ",.0f") -> str:
        median = kept.median(contender.key, measure)
        return f"{median.value:{form}}" if median else "–"

    drain = f"{rate(DRAIN_1)} / {rate(OUR_JOB if contender.drain_is_our_job else DRAIN_2)}"
    idle = f"{rate(IDLE_P50, '.1f')} / {rate(IDLE_P99, '.1f')}"
    enqueued = (rate(ENQUEUE), rate(BULK))
    return (contender.name, contender.store.value, *enqueued, drain, contender.leaves, f"**{rate(OUR_JOB)}**", idle)


def _settings(runs: Sequence[Run], contenders: Sequence[Contender]) -> str:
    versions = {name: version for run in runs for name, version in run.versions.items()}
    settings = {name: text for run in runs for name, text in run.settings.items()}

    def row(contender: Contender) -> tuple[str, ...]:
        packages = ", ".join(f"{package} {versions[package]}" for package in contender.packages if package in versions)
        return (contender.name, contender.store.value, packages, settings.get(contender.key, contender.settings))

    return table(("queue", "its tasks are in", "versions", "settings"), map(row, contenders))


def _conditions(kept: Kept) -> Iterator[str]:
    for paragraph in conditions.paragraphs(kept.runs):
        several = f" In {len(kept.runs)} runs, one after the other." if len(kept.runs) > 1 else ""
        yield (
            f"{paragraph} {kept.runs[-1].tasks:,} tasks a drain, or the share of them that a slow queue does in the"
            f" same time.{several} {_rounds(kept)}"
        )


def _rounds(kept: Kept) -> str:
    counts = sorted(median.rounds for contender in ALL if (median := kept.median(contender.key, OUR_JOB)))
    if not counts or counts[-1] == 1:
        return "One round."
    return f"Medians of {' to '.join(dict.fromkeys(str(count) for count in (counts[0], counts[-1])))} rounds."


PLOTS = {
    "peers-job.svg": (OUR_JOB, "our job: a result of 2 KB and a pool row in one commit, 2 workers, tasks/s"),
    "peers-enqueue.svg": (ENQUEUE, "enqueue one by one, tasks/s"),
    "peers-bulk.svg": (BULK, "enqueue in bulk, tasks/s"),
}


def bars(kept: Kept, measure: str) -> list[tuple[Contender, float, float, float]]:
    medians = [(contender, kept.median(contender.key, measure)) for contender in ALL]
    rows = [(contender, median.value, median.low, median.high) for contender, median in medians if median]
    return sorted(rows, key=lambda bar: -bar[1])


def draw(kept: Kept, folder: Path) -> list[Path]:
    """Writes the plots. Raises ModuleNotFoundError without matplotlib."""
    plt = pyplot()
    paths = []
    for name, (measure, title) in PLOTS.items():
        if rows := bars(kept, measure):
            figure, axes = plt.subplots(figsize=(9, 0.7 + 0.34 * len(rows)), layout="constrained")
            _draw(axes, rows, title)
            paths.append(save(figure, folder / name))
    return paths


def _draw(axes: Any, rows: list[tuple[Contender, float, float, float]], title: str) -> None:
    names = [f"{contender.name} ({contender.store.value})" for contender, *_ in rows]
    values = [value for _, value, *_ in rows]
    errors = [[value - low for _, value, low, _ in rows], [high - value for _, value, _, high in rows]]
    colours = ["C1" if contender.key == CONTENTGEN else "C0" for contender, *_ in rows]
    container = axes.barh(names, values, xerr=errors, color=colours, error_kw={"elinewidth": 0.8, "alpha": 0.6})
    axes.bar_label(container, labels=[f"{value:,.0f}" for value in values], padding=6, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
