"""A campaign: its parts one after the other by a pool of processes, and what is looked at meanwhile and after."""

from __future__ import annotations

import multiprocessing
import random
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, as_completed, wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import sqlalchemy as sa

from lab.fuzz import hostile_scheduler, hostile_worker
from lab.fuzz.attack import attack
from lab.fuzz.case import Who, random_of
from lab.fuzz.generating import every_path
from lab.fuzz.hostile_scheduler import lie
from lab.fuzz.hostile_worker import hostile_sessions
from lab.fuzz.inputs import creators, files, pictures, rows
from lab.fuzz.old_databases import shapes
from lab.fuzz.old_databases.trial import import_databases
from lab.fuzz.services import HONEST_ACCOUNT, HOSTILE_ACCOUNTS, Gardener, Honest, Services, growth, services
from lab.fuzz.tally import Finding, Tally, broken
from lab.fuzz.values import Known
from scheduler_svc.domain.lifecycle import Status
from tests.harness.cluster import server_folder
from tests.harness.scheduling import ALWAYS

Try = Callable[[random.Random, Path], None]
"""Tries one input; raises where it is not taken as it has to be. The folder is its own to write in."""

INPUTS: Mapping[str, Try] = {
    "output of json": creators.profile("json"),
    "output of reference": creators.profile("reference"),
    "output of llm-content-creator": creators.profile("llm-content-creator"),
    "progress lines": creators.progress_line,
    "tokens file": files.tokens,
    "spool": files.spool,
    "guard's socket": files.guard_wire,
    "pictures": pictures.measured,
    "page token": files.page_token,
    "resume token": files.resume_token,
    "public ids": files.public_id,
    "old account": rows.account,
    "old task": rows.task,
    "old content": rows.content,
    "old pool entry": rows.entry,
    "scheduler's settings": files.settings_of_scheduler,
    "worker's settings": files.settings_of_worker,
}


SLOW = frozenset(name for name in INPUTS if name.startswith(("output of", "pictures")) or name.endswith("settings"))
"""They take milliseconds each, and one turn for eight of the others."""


def turns(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names for _ in range(1 if name in SLOW else 8))


def try_inputs(names: Sequence[str], seed: int, numbers: range) -> Tally:
    """Returns what the inputs of these numbers came to, which take turns at the names; runs in the campaign's pool."""
    tally = Tally()
    with server_folder() as folder:
        for number in numbers:
            name = names[number % len(names)]
            try:
                INPUTS[name](random_of(name, seed, number), folder)
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not come out
                tally.count(name, "FOUND")
                frame = traceback.extract_tb(error.__traceback__)[-1]
                problem = f"{type(error).__name__} in {frame.name}: {error}"[:500]
                tally.find(Finding(name, problem, seed, number, traceback.format_exc()[-4_000:]))
            else:
                tally.count(name, "taken or refused")
    return tally


Job = Callable[[], Tally]
"""To be done in another process: a partial of a function of a module."""
TARGETS = (*every_path(), hostile_worker.TARGET, hostile_scheduler.TARGET, *INPUTS, shapes.TARGET)


@dataclass(frozen=True)
class Plan:
    """What a campaign does, from one seed. Targets are RPCs, hostile peers and inputs, by their names."""

    seed: int
    calls: int
    only: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(path for path in every_path() if self._wants(path))

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(name for name in INPUTS if self._wants(name))

    @property
    def sessions(self) -> int:
        return self.calls // 250 if self._wants(hostile_worker.TARGET) else 0

    @property
    def lies(self) -> int:
        return self.calls // 40 if self._wants(hostile_scheduler.TARGET) else 0

    @property
    def databases(self) -> int:
        most = 250  # each takes a second of a core, and the shapes come again after 45
        return min(self.calls // 400, most) if self._wants(shapes.TARGET) else 0

    def _wants(self, name: str) -> bool:
        return not self.only or name.endswith(self.only)

    def unknown(self) -> list[str]:
        return [suffix for suffix in self.only if not any(name.endswith(suffix) for name in TARGETS)]


def _stretches(count: int, length: int) -> Iterator[range]:
    return (range(first, min(first + length, count)) for first in range(0, count, length))


def call_jobs(plan: Plan, services: Services, known: Callable[[], Known]) -> Iterator[Job]:
    """Calls in turn to each path, each stretch over a connection of its own with what is known by then."""
    for numbers in _stretches(plan.calls if plan.paths else 0, 2_000):
        target = (services.scheduler.target, services.tokens, known())
        yield partial(attack, *target, paths=plan.paths, seed=plan.seed, numbers=numbers)


def peer_jobs(plan: Plan, services: Services) -> Iterator[Job]:
    if plan.lies:
        yield partial(lie, plan.seed, plan.lies)
    for numbers in _stretches(plan.sessions, 25):
        yield partial(hostile_sessions, services.scheduler.target, services.tokens[Who.WORKER], plan.seed, numbers)


def input_jobs(plan: Plan) -> Iterator[Job]:
    """Yields one for four calls."""
    names = turns(plan.inputs)
    for numbers in _stretches(plan.calls // 4 if names else 0, 1_000):
        yield partial(try_inputs, names, plan.seed, numbers)


def database_jobs(plan: Plan) -> Iterator[Job]:
    """Yields one for four hundred calls; each stretch has a server of its own."""
    for numbers in _stretches(plan.databases, 25):
        yield partial(import_databases, plan.seed, numbers)


_INVARIANTS = ALWAYS | {
    "a completed task has its content, and no other task has one": f"""
        SELECT task_key, t.status, c.content_id FROM tasks AS t JOIN contents AS c USING (task_key)
        WHERE t.status <> {Status.COMPLETED} OR t.content_id IS DISTINCT FROM c.content_id
    """
}
ALLOWED_GROWTH = 64.0
"""MiB that a process may be larger at the end than after its warm-up."""
ENOUGH_CALLS = 5_000
"""Of an RPC, among which some have to be taken."""


class Campaign:
    def __init__(self, plan: Plan, processes: int, say: Callable[[str], None]) -> None:
        """`say` gets a line of progress now and then."""
        self._plan = plan
        self._processes = processes
        self._say = say
        self._told: set[str] = set()
        self.tally = Tally()
        self._seconds: dict[str, float] = {}
        self._memory: dict[str, tuple[float, float]] = {}
        """MiB of each process after the warm-up and at the end."""
        self._honest: list[float] = []
        """Seconds of each honest task, each of which was completed."""

    def run(self) -> None:
        # They are spawned: this process has gRPC's threads, and must not fork.
        spawning = multiprocessing.get_context("spawn")
        with services() as attacked, ProcessPoolExecutor(self._processes, spawning) as pool, ExitStack() as stack:
            stack.callback(pool.shutdown, cancel_futures=True)
            protected = frozenset({HONEST_ACCOUNT, attacked.worker_id})
            self.tally.known = Known({"account_id": HOSTILE_ACCOUNTS}, protected)
            honest = Honest(attacked.scheduler.target, attacked.honest_token)
            gardener = Gardener(attacked.scheduler.target, attacked.tokens[Who.OPERATOR])
            with honest.working(), gardener.working():
                calls = call_jobs(self._plan, attacked, lambda: self.tally.known)
                self._part("calls", pool, calls, attacked, honest)
                self._part("hostile peers", pool, peer_jobs(self._plan, attacked), attacked, honest)
                self._part("inputs", pool, input_jobs(self._plan), attacked, honest)
                self._part("old databases", pool, database_jobs(self._plan), attacked, honest)
            self._look(attacked, honest, gardener)

    def _part(
        self, name: str, pool: ProcessPoolExecutor, jobs: Iterable[Job], attacked: Services, honest: Honest
    ) -> None:
        start = last_told = time.monotonic()

        def take(tally: Tally) -> None:
            nonlocal last_told
            self.tally.add(tally)
            for finding in tally.findings:
                if finding.kind not in self._told:  # the first finding of each kind, as soon as it is there
                    self._told.add(finding.kind)
                    self._say(f"found, case {finding.number}: {finding.kind}")
            attacked.sample()
            if time.monotonic() - last_told > 10.0:
                last_told = time.monotonic()
                self._progress(name, last_told - start, honest)

        under_way: set[Future[Tally]] = set()
        for job in jobs:  # each is made when its turn comes
            under_way.add(pool.submit(job))
            while len(under_way) > self._processes:
                finished, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for future in finished:
                    take(future.result())
        for future in as_completed(under_way):
            take(future.result())
        self._seconds[name] = time.monotonic() - start
        self._progress(name, self._seconds[name], honest)

    def _progress(self, name: str, seconds: float, honest: Honest) -> None:
        cases, findings = self.tally.cases, len(self.tally.findings)
        self._say(
            f"{name}, {seconds:.0f} s: {cases:,} cases, {len(honest.seconds):,} honest tasks, {findings} findings"
        )

    def _look(self, attacked: Services, honest: Honest, gardener: Gardener) -> None:
        troubles = [*attacked.troubles(), *attacked.stop()]
        with sa.create_engine(attacked.database_url, poolclass=sa.NullPool).connect() as connection:
            violations = broken(connection, _INVARIANTS)
        for problem in (*troubles, *honest.wrong, *gardener.wrong, *violations):
            self._find("services", problem)
        for name in self.tally.unanswered(ENOUGH_CALLS):
            self._find(
                name, f"no answer to any of more than {ENOUGH_CALLS:,} calls: the attack does not get past its checks"
            )
        if self.tally.locked_too_often:
            self._find("services", f"{self.tally.locked:,} calls waited for a lock until its bound")
        self._memory = {name: growth(samples) for name, samples in attacked.memory.items()}
        for name, (begin, end) in self._memory.items():
            if end - begin > ALLOWED_GROWTH:
                self._find("memory", f"the {name} has grown from {begin:.0f} to {end:.0f} MiB")
        self._honest = honest.seconds

    def report(self) -> Iterator[str]:
        """Yields two tables in Markdown: how the cases ended, and what went on beside them."""
        yield "| target | cases | ended as |"
        yield "|---|--:|---|"
        for target, counts in sorted(self.tally.statuses.items()):
            statuses = ", ".join(f"{status} {count:,}" for status, count in counts.most_common())
            yield f"| {target} | {counts.total():,} | {statuses} |"
        yield ""
        yield f"| seed {self._plan.seed} | {self.tally.cases:,} cases |"
        yield "|---|---|"
        yield from (f"| {part} | {seconds:,.0f} s |" for part, seconds in self._seconds.items())
        yield from (f"| {observation} | {count:,} |" for observation, count in self.tally.further.items())
        for process, (begin, end) in self._memory.items():
            yield f"| memory of the {process}, after its warm-up and at the end | {begin:.0f} MiB, {end:.0f} MiB |"
        seconds = self._honest or [0.0]
        yield f"| honest tasks, each completed | {len(self._honest):,} |"
        yield f"| seconds of an honest task: median, slowest | {median(seconds):.2f}, {max(seconds):.1f} |"
        yield f"| findings | {len(self.tally.findings)} |"

    def _find(self, target: str, text: str) -> None:
        self.tally.find(Finding(target, text, self._plan.seed, 0))
