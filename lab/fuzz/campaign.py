"""A campaign: its parts one after the other, the honest work beside them, and what is looked at meanwhile and after."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from statistics import median

import sqlalchemy as sa

from lab.fuzz import parts
from lab.fuzz.case import Who
from lab.fuzz.gardener import Gardener
from lab.fuzz.honest import Honest
from lab.fuzz.known import Known
from lab.fuzz.parts import Plan
from lab.fuzz.pool import Job, Pool
from lab.fuzz.report import Beside
from lab.fuzz.services import HONEST_ACCOUNT, HOSTILE_ACCOUNTS, Services, growth, services
from lab.fuzz.tally import Finding, Tally
from scheduler_svc.domain.lifecycle import Status
from tests.harness.scheduling import ALWAYS

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
_PROGRESS_INTERVAL = 10.0
"""Seconds between two lines of progress."""


class Campaign:
    """One run. `tally`, `seconds` and `beside` are complete once `run` has returned."""

    def __init__(self, plan: Plan, processes: int, say: Callable[[str], None]) -> None:
        """`say` gets a line of progress now and then."""
        self._plan = plan
        self._processes = processes
        self._say = say
        self._told: set[str] = set()
        self.tally = Tally()
        self.seconds: dict[str, float] = {}
        """How long each part took."""
        self.beside = Beside({}, 0, 0, 0)

    def run(self) -> None:
        """Attacks everything that the plan names."""
        with services() as attacked, Pool(self._processes) as pool:
            protected = frozenset({HONEST_ACCOUNT, attacked.worker_id})
            self.tally.known = Known({"account_id": HOSTILE_ACCOUNTS}, protected)
            honest = Honest(attacked.scheduler.target, attacked.honest_token)
            gardener = Gardener(attacked.scheduler.target, attacked.tokens[Who.OPERATOR])
            with honest.working(), gardener.tending():
                calls = parts.calls(self._plan, attacked, lambda: self.tally.known)
                self._part("calls", pool, calls, attacked, honest)
                self._part("hostile peers", pool, parts.peers(self._plan, attacked), attacked, honest)
                self._part("inputs", pool, parts.inputs(self._plan), attacked, honest)
                self._part("old databases", pool, parts.databases(self._plan), attacked, honest)
            self._look(attacked, honest, gardener)

    def _part(self, name: str, pool: Pool, jobs: Iterable[Job], attacked: Services, honest: Honest) -> None:
        start = said = time.monotonic()

        def take(tally: Tally) -> None:
            nonlocal said
            self.tally.add(tally)
            self._tell_news(tally)
            attacked.sample()
            if time.monotonic() - said > _PROGRESS_INTERVAL:
                said = time.monotonic()
                self._progress(name, said - start, honest)

        pool.work(jobs, take)
        self.seconds[name] = time.monotonic() - start
        self._progress(name, self.seconds[name], honest)

    def _tell_news(self, tally: Tally) -> None:
        """The first finding of each kind, as soon as it is there."""
        for finding in tally.findings:
            if finding.kind not in self._told:
                self._told.add(finding.kind)
                self._say(f"found, case {finding.number}: {finding.kind}")

    def _progress(self, name: str, seconds: float, honest: Honest) -> None:
        cases, findings = self.tally.cases, len(self.tally.findings)
        self._say(
            f"{name}, {seconds:.0f} s: {cases:,} cases, {len(honest.seconds):,} honest tasks, {findings} findings"
        )

    def _look(self, attacked: Services, honest: Honest, gardener: Gardener) -> None:
        """What is wrong with the services, the database, the honest work, the memory."""
        troubles = [*attacked.troubles(), *attacked.stop()]
        for problem in (*troubles, *honest.failures, *gardener.failures, *broken(attacked.database_url)):
            self._find("services", problem)
        for name in self.tally.unanswered(ENOUGH_CALLS):
            self._find(
                name, f"no answer to any of more than {ENOUGH_CALLS:,} calls: the attack does not get past its checks"
            )
        if self.tally.locked_too_often:
            self._find("services", f"{self.tally.locked:,} calls waited for a lock until its bound")
        grown = {name: growth(samples) for name, samples in attacked.memory.items()}
        for name, (begin, end) in grown.items():
            if end - begin > ALLOWED_GROWTH:
                self._find("memory", f"the {name} has grown from {begin:.0f} to {end:.0f} MiB")
        seconds = honest.seconds or [0.0]
        self.beside = Beside(grown, len(honest.seconds), median(seconds), max(seconds))

    def _find(self, target: str, text: str) -> None:
        self.tally.find(Finding(target, text, self._plan.seed, 0))


def broken(database_url: str) -> list[str]:
    """Returns the invariants that do not hold, whatever is called: a completed task may lack its content."""
    engine = sa.create_engine(database_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        violations = {
            invariant: connection.execute(sa.text(query)).fetchmany(5) for invariant, query in _INVARIANTS.items()
        }
    engine.dispose()
    return [f"not true any more: {invariant}: {rows}" for invariant, rows in violations.items() if rows]
