"""Random steps of clients, workers, operators and time: after each step every invariant holds."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scheduler_svc.dispatch.work import raise_floors
from scheduler_svc.domain.content import TaskResult
from scheduler_svc.domain.errors import DomainError, InvalidArgument, InvalidState, RetriesExhausted, UniqueKeyInUse
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import AttemptAccepted, AttemptCompleted, AttemptStarted, Change, Outcome, Release
from scheduler_svc.domain.task import AttemptProgress, Task
from scheduler_svc.history.work import fold_counts
from scheduler_svc.tasks.submit import SubmitItem
from tests.harness.scheduling import DEFERRED, FAILURE, TIMEOUT, Scheduling, new_task, released

pytestmark = pytest.mark.integration

STEPS = 60
KINDS = 19
STATES = 7
UNIQUE: list[dict[str, Any]] = [{}, {}, {"unique_key": "u"}, {"unique_key": "v", "unique_for": timedelta(hours=1)}]


def moved_in_time(task: Task) -> Task:
    """Without the timestamp that the walk itself changes, to make attempts time out."""
    return task._replace(submit_time=None)


class Walk:
    """Takes random steps, and records what was acknowledged."""

    def __init__(self, scheduling: Scheduling, seed: int) -> None:
        self._scheduling = scheduling
        self._random = random.Random(seed)
        self._accounts = [1, scheduling.make_account(), scheduling.make_account(limit=2)]
        for account_id in (0, 1):
            scheduling.hook(account_id)
        self._tasks: list[int] = []
        self._refs: dict[str, list[LeaseRef]] = {"v": [], "w": []}
        self._accepted: dict[int, str] = {}
        for worker_id in self._refs:
            scheduling.hello(worker_id)

    def step(self) -> str:
        """One step; returns its name."""
        steps: dict[Callable[[], None], int] = {
            self._submit: 3,
            self._claim: 5,
            self._report: 10,
            self._state: 2,
            self._hello: 1,
            self._take_back: 1,
            self._lose: 2,
            self._time_out: 1,
            self._due: 3,
            self._expire: 2,
            self._cancel: 2,
            self._retry: 2,
            self._update: 3,
            self._fold: 1,
            self._raise_floors: 4,
            self._admit: 6,
            self._limit: 1,
            self._meter: 1,
            self._minute: 1,
            self._weigh: 1,
            self._pause: 1,
        }
        (step,) = self._random.choices(list(steps), list(steps.values()))
        step()
        return step.__name__

    def check(self) -> None:
        self._scheduling.check()
        contents = dict(self._scheduling.sql("SELECT task_key, body FROM contents"))
        assert contents == self._accepted, "what was acknowledged is stored, once, and nothing else is"
        last = {change.task.task_key: moved_in_time(change.task) for change in self._scheduling.changes()}
        tasks = {key: moved_in_time(task) for key, task in self._scheduling.tasks().items()}
        assert last == tasks, "a task as of its last move is the task"

    def finish(self) -> None:
        """Without limits and pauses each waiting task can be claimed, unless its `expire_time` has passed."""
        scheduling = self._scheduling
        scheduling.expire_waiting()
        for account_id in (0, *self._accounts):
            scheduling.resume(account_id)
        scheduling.admit()
        for account_id in self._accounts:
            scheduling.change_account(account_id, max_concurrent_tasks=0, max_starts_per_minute=0)
        while scheduling.claim(100):
            pass
        assert scheduling.sql("SELECT * FROM ready") == []

    def _worker(self) -> str:
        return self._random.choice(list(self._refs))

    def _some(self, refs: list[LeaseRef]) -> list[LeaseRef]:
        """A lease that a worker has or had, more likely a recent one."""
        return [ref for ref in refs[-6:] if self._random.random() < 0.5]

    def _submit(self) -> None:
        tasks = [
            new_task(
                account_id=self._random.choice(self._accounts),
                priority=self._random.choice([1, 5, 5, 10]),
                max_retries=self._random.choice([0, 1, 3]),
                auto_retry=self._random.random() < 0.8,
                auto_approve=self._random.random() < 0.5,
                timeout=timedelta(seconds=self._random.choice([1, 1800])),
                schedule_time=datetime.now(UTC) + timedelta(hours=1) if self._random.random() < 0.2 else None,
                request_id=self._random.choice(["", "", "a", "b"]),
                **self._random.choice(UNIQUE),
                expire_time=datetime.now(UTC) + timedelta(hours=2) if self._random.random() < 0.3 else None,
                labels=self._random.choice([{}, {"team": "a"}, {"team": "a", "kind": "x"}, {"team": "b"}]),
            )
            for _ in range(self._random.choice([1, 1, 2, 60]))
        ]
        for answer in self._scheduling.submit_group(SubmitItem(tuple(tasks[:1])), SubmitItem(tuple(tasks[1:]))):
            if not isinstance(answer, DomainError):
                self._tasks += [task.task_key for task in answer]

    def _claim(self) -> None:
        worker_id = self._worker()
        self._refs[worker_id] += self._scheduling.claim(self._random.choice([1, 2, 4]), worker_id)

    def _report(self) -> None:
        for ref in self._some(self._refs[self._worker()]):
            body = f"a body {self._random.random()}"
            changes: list[Change] = self._random.choice(
                [
                    [AttemptAccepted()],
                    [AttemptAccepted(), AttemptStarted()],
                    [AttemptProgress(self._random.randint(0, 100))],
                    [AttemptCompleted(TaskResult(body))],
                    [AttemptAccepted(), AttemptStarted(), AttemptCompleted(TaskResult(body))],
                    [FAILURE],
                    [TIMEOUT],
                    [DEFERRED],
                    [AttemptStarted(), DEFERRED],
                    [released(self._random.choice(list(Release)))],
                    [AttemptStarted(), released(started=True)],
                ]
            )
            outcomes = self._scheduling.report(ref, *changes)
            if isinstance(changes[-1], AttemptCompleted) and outcomes[-1] is Outcome.COMMITTED:
                assert ref.task_key not in self._accepted
                self._accepted[ref.task_key] = body

    def _state(self) -> None:
        worker_id = self._worker()
        self._scheduling.state(*self._some(self._refs[worker_id]), worker_id=worker_id)

    def _hello(self) -> None:
        worker_id = self._worker()
        refs = self._refs[worker_id]
        self._scheduling.hello(worker_id, names=self._some(refs), lost=self._some(refs))

    def _take_back(self) -> None:
        worker_id = self._worker()
        refs = self._scheduling.claim(2, worker_id)
        self._scheduling.take_back(*refs)
        self._refs[worker_id] += refs  # their worker may still receive them: that must not matter

    def _lose(self) -> None:
        self._scheduling.lose(*self._some(self._refs[self._worker()]))

    def _time_out(self) -> None:
        """Tasks with a short timeout have exceeded it, in a slot or not."""
        self._scheduling.sql(
            """UPDATE leases SET claim_time = now() - interval '10 min', accept_time = CASE WHEN accept_time IS NOT NULL
                THEN now() - interval '10 min' END WHERE timeout_ms = 1000"""
        )
        self._scheduling.reap()

    def _due(self) -> None:
        self._scheduling.sql("UPDATE delayed SET due_time = now() WHERE task_key % 3 = :n", n=self._random.randrange(3))
        self._scheduling.due()

    def _expire(self) -> None:
        """The time has passed of some tasks; more often than not the loop has looked before the next claim."""
        self._scheduling.pass_expire_time(*self._some_tasks())
        if self._random.random() < 0.7:
            self._scheduling.expire_waiting()

    def _some_tasks(self) -> list[int]:
        return [key for key in self._tasks[-40:] if self._random.random() < 0.2]

    def _cancel(self) -> None:
        if self._tasks:
            with suppress(InvalidState):
                self._scheduling.cancel(self._random.choice(self._tasks), force=self._random.random() < 0.5)

    def _retry(self) -> None:
        if self._tasks:
            with suppress(InvalidState, RetriesExhausted, UniqueKeyInUse):
                self._scheduling.retry(self._random.choice(self._tasks), reset=self._random.random() < 0.3)

    def _update(self) -> None:
        later = datetime.now(UTC) + timedelta(hours=1)
        for key in self._some_tasks():
            fields = {
                "topic": f"a topic {self._random.random()}",
                "priority": self._random.choice([1, 5, 10]),
                "schedule_time": self._random.choice([None, later]),
                "expire_time": self._random.choice([None, later + timedelta(hours=1)]),
                "labels": self._random.choice([{}, {"team": "a"}, {"team": "c"}]),
                "timeout": timedelta(seconds=self._random.choice([1, 1800])),
            }
            chosen_fields = {name: value for name, value in fields.items() if self._random.random() < 0.3}
            with suppress(InvalidState, InvalidArgument):
                self._scheduling.update(key, **chosen_fields)

    def _fold(self) -> None:
        self._scheduling.run(fold_counts)

    def _raise_floors(self) -> None:
        assert self._scheduling.run(raise_floors)

    def _admit(self) -> None:
        self._scheduling.admit()

    def _limit(self) -> None:
        limit = self._random.choice([0, 1, 2, 5])
        self._scheduling.change_account(self._random.choice(self._accounts), max_concurrent_tasks=limit)

    def _meter(self) -> None:
        most = self._random.choice([0, 1, 4])
        self._scheduling.change_account(self._random.choice(self._accounts), max_starts_per_minute=most)

    def _minute(self) -> None:
        """A minute has passed for the starts that are counted; no admission has run since."""
        self._scheduling.sql(
            "UPDATE start_quotas SET times = ARRAY(SELECT t - interval '1 minute' FROM unnest(times) AS t)"
        )

    def _weigh(self) -> None:
        weight = self._random.choice([0.5, 1.0, 8.0])
        self._scheduling.change_account(self._random.choice(self._accounts), weight=weight)

    def _pause(self) -> None:
        """Often ends, so that the walk reaches many states."""
        what = self._random.choice([0, *self._accounts])
        if self._random.random() < 0.3:
            self._scheduling.pause(what)
        else:
            for paused in (0, *self._accounts):
                self._scheduling.resume(paused)


def seen(scheduling: Scheduling) -> set[int]:
    return {status for (status,) in scheduling.sql("SELECT DISTINCT status FROM task_events")}


@pytest.mark.costly("all invariants are looked at after each of sixty steps", seconds=3)
@pytest.mark.parametrize("seed", [2, 4])
def test_every_invariant_holds_after_each_step(scheduling: Scheduling, seed: int) -> None:
    """For a minimum of steps, and until each kind of step was taken and each state was seen."""
    walk = Walk(scheduling, seed)
    steps: list[str] = []
    while len(steps) < STEPS or len(set(steps)) < KINDS or len(seen(scheduling)) < STATES:
        assert len(steps) < 20 * STEPS, "the walk gets around"
        steps.append(walk.step())
        walk.check()
    walk.finish()
