"""One campaign from start to verdict: a load, a plan of faults, the wait until all has ended, and the evidence.

A line every few seconds tells of it meanwhile. Above everything but the command line.
"""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

from contentgen import ContentGenerationClient, RequestError
from lab.chaos.checker import check
from lab.chaos.clients import JournalingWatchers, Load, Receiver, health_watched, pause, probing, schedule
from lab.chaos.collected import ask, left_by_postgres, left_by_services, read_stored, settled
from lab.chaos.evidence import JOURNAL, Appender, Evidence, Leftover, Scheduled, read_journals
from lab.chaos.faults import KINDS, Fault, Scene
from lab.chaos.figures import KILLS
from lab.chaos.fleet import LEASE, POSTGRES, Fleet
from lab.chaos.plan import Strikes
from lab.deployment.database import Database
from lab.deployment.deployment import every
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.domain.lifecycle import Status
from tests.harness.waiting import wait_until

_MAX_OPEN = 40
"""Tasks that may be open before clients wait: a lost task should find a free slot soon, so that losses are measured."""
_SHORTEST, _LINES = 5.0, 120
"""Seconds between two lines, and lines of a long campaign, about."""
_COUNTS = f"""
    SELECT (SELECT count(*) FROM tasks WHERE status = {int(Status.PENDING)}), (SELECT count(*) FROM leases),
        (SELECT count(*) FROM contents)
"""
_TICKED = """
    SELECT extract(epoch FROM now())::float8 WHERE NOT EXISTS (SELECT FROM schedules WHERE due_time <= now())
"""
"""Returns the time, if no schedule's tick is due."""


ALL = frozenset(kind.name for kind in KINDS)
"""The kinds of faults."""


@dataclass(frozen=True, slots=True)
class Options:
    seed: int
    seconds: float
    """How long there are faults and load; what comes before and after takes another half minute or more."""
    workers: int
    rate: float
    submits: float
    faults: frozenset[str]
    keep: Path | None
    json: Path | None
    publish: Path | None
    plan: bool

    @property
    def command(self) -> str:
        kinds = "" if self.faults == ALL else f" --faults {','.join(sorted(self.faults))}"
        return (
            f"python -m lab.chaos --seed {self.seed} --seconds {self.seconds:g} --rate {self.rate:g}"
            f" --workers {self.workers} --submits {self.submits:g}{kinds}"
        )


@dataclass(frozen=True, slots=True)
class Result:
    evidence: Evidence
    wrong: Sequence[str]
    """All that should not have been, the checker's violations first; empty: every promise holds."""
    came_up_late: Mapping[str, int]
    """How often services ended before they served, for instance since PostgreSQL was away."""
    missed: int
    stood_still: int
    """How often PostgreSQL stood still after a fault, until it was ended for it."""


def run(options: Options, faults: Sequence[Fault], folder: Path, say: Callable[[str], None], *, disks: bool) -> Result:
    """Runs it in `folder`, an empty one, where the journals stay. Fails like a test where nothing comes up.

    `disks`: whether services have small disks that can be filled up.
    """
    with Fleet(folder, options.workers, disks=disks) as fleet:
        return _Campaign(options, faults, fleet, say).run()


class Progress:
    """Looks at the database past all wires, whenever it can be reached."""

    def __init__(self, database: Database) -> None:
        self.open_tasks = self.leases = self.completed = 0
        self._database = database

    def all_ended(self) -> bool:
        """Returns whether no task is open and no lease is left; False while nobody knows."""
        return self.look() and not self.open_tasks and not self.leases

    def look(self) -> bool:
        rows = self.rows(_COUNTS)
        if rows:
            self.open_tasks, self.leases, self.completed = rows[0]
        return bool(rows)

    def all_delivered(self) -> bool:
        """Returns whether no event waits for its delivery; False while nobody knows."""
        return self.rows("SELECT count(*) FROM webhook_deliveries WHERE next_attempt_time IS NOT NULL") == [(0,)]

    def number(self, sql: str) -> float:
        """Returns the first value; 0 while there is none, or the database is away."""
        rows = self.rows(sql)
        return float(rows[0][0]) if rows else 0.0

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Returns none while the database is away."""
        try:
            return self._database.rows(sql)
        except psycopg2.Error:
            return []


class _Campaign:
    def __init__(self, options: Options, faults: Sequence[Fault], fleet: Fleet, say: Callable[[str], None]) -> None:
        self._seconds = options.seconds
        self._faults = faults
        self._fleet = fleet
        self._say = say
        self.wrong: list[str] = []
        self._journal = journal = Appender(fleet.folder / JOURNAL)
        self._strikes = Strikes(Scene(fleet, journal))
        seed = options.seed
        self._load = Load(
            fleet.target, journal, seed, rate=options.submits, busy=lambda: self._progress.open_tasks > _MAX_OPEN
        )
        self._schedules: list[Scheduled] = []
        refusals = random.Random(f"receiver {seed}")
        self._receiver = Receiver(journal, (refusals.random() < 0.1 for _ in itertools.count()))
        self._watchers = JournalingWatchers(fleet.target, journal)
        self._progress = Progress(fleet.database)
        self._probe_id = f"{seed}-probe"
        self._begin = self._next_line = time.monotonic()

    def run(self) -> Result:
        threading.excepthook = self._died
        self._say(f"all services are up; {len(self._faults)} faults in {self._seconds:g} s")
        with self._receiver:
            try:
                with every(1.0, self._tell, "progress"):
                    self._hurt()
                    self._recover()
            finally:
                self._watchers.await_moves(int(self._progress.number("SELECT count(*) FROM task_events")))
                self._watchers.stop()
        evidence = self._evidence()
        problems = [str(violation) for violation in check(evidence)]
        for part in (self, self._strikes, self._load, self._watchers, self._receiver):
            problems += part.wrong
        late: Counter[str] = Counter()
        for end in self._fleet.ended:
            if end.served:
                problems.append(f"{end.name} ended by itself, {end.lived:.0f} s after its start (status {end.status})")
            elif end.name != POSTGRES:
                late[end.name] += 1
        return Result(evidence, problems, late, self._strikes.missed.total(), self._fleet.database.stood_still)

    def _died(self, thread: threading.ExceptHookArgs) -> None:
        """A thread of ours that ends early must not make a campaign easy."""
        threading.__excepthook__(thread)
        self.wrong.append(f"the thread {thread.thread and thread.thread.name} died: {thread.exc_value!r}")

    def _tell(self) -> None:
        answers, now = self._progress.look(), time.monotonic()
        if now < self._next_line:
            return
        self._next_line += max(_SHORTEST, self._seconds / _LINES)
        struck, progress = self._strikes.struck, self._progress
        kills = sum(count for kind, count in struck.items() if kind in KILLS)
        self._say(
            f"{now - self._begin:5.0f} s: {self._load.submitted} submitted, "
            f"{progress.completed} completed, {progress.open_tasks} open, {progress.leases} leased; "
            f"{struck.total()} faults, {kills} of them kills{'' if answers else '; the database is away'}"
        )

    def _hurt(self) -> None:
        account_ids = self._load.make_accounts()
        self._journal.append(self._receiver.subscribe(self._fleet.target))
        self._schedules += schedule(self._fleet.target, account_ids)
        self._watchers.start(account_ids)
        probing_one = probing(self._fleet.target, self._journal, self._probe_id, account_ids[0], self.wrong)
        with probing_one, health_watched(self._fleet.direct_targets, self._journal):
            try:
                self._load.start()
                self._watchers.await_first(account_ids)
                begin = time.monotonic()
                self._strikes.run(self._faults)
                time.sleep(max(0.0, begin + self._seconds - time.monotonic()))
            finally:
                self._strikes.stop()
                self._load.stop(within=60.0)

    def _recover(self) -> None:
        """All is whole again: what is open has to end by itself, only that nobody waits for the pauses of retries."""
        self._say("no more faults: waiting until all is up and every task has ended")
        with self._noted():
            self._fleet.await_health(60.0)
        with self._noted():
            ticked = wait_until(lambda: self._progress.number(_TICKED), within=30.0, what="no tick is due")
            pause(self._fleet.target, self._schedules, self._journal, ticked)
        with self._noted(), ContentGenerationClient(self._fleet.target) as client:
            wait_until(lambda: self._all_ended(client), within=240.0, what="every task has ended")
        self._receiver.patient = True
        with self._noted():
            wait_until(self._progress.all_delivered, within=120.0, what="every event is delivered")

    def _all_ended(self, client: ContentGenerationClient) -> bool:
        for (key,) in self._progress.rows("SELECT task_key FROM delayed"):
            with suppress(RequestError):
                client.retry_task(format_task_id(key))
        return self._progress.all_ended()

    def _evidence(self) -> Evidence:
        """Lets services answer a last time, stops them, and looks at what they leave."""
        fleet = self._fleet
        fleet.rest()
        journals = read_journals(fleet.folder)
        stored = read_stored(fleet.database.dsn)
        task_ids = [*(submit.task_id for submit in journals.submits), *stored.tasks]
        target = next(iter(fleet.direct_targets.values()))
        answers = ask(target, task_ids, {submit.account_id for submit in journals.submits})
        self.wrong += fleet.stop_services()

        def left() -> list[Leftover]:
            spared = frozenset((os.getpid(), *(process.pid for process in fleet.database.processes())))
            return left_by_services(fleet.folder, fleet.worker_folders, fleet.database.dsn, spared)

        leftovers = settled(left, 10.0)
        fleet.database.stop()
        sockets = [fleet.database.socket.parent]
        leftovers += settled(lambda: left_by_postgres(fleet.folder, sockets, frozenset((os.getpid(),))), 10.0)
        return Evidence(journals, stored, answers, leftovers, LEASE)

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """A failed wait is part of the verdict; the evidence is looked at all the same."""
        try:
            yield
        except AssertionError as error:
            self.wrong.append(str(error))
