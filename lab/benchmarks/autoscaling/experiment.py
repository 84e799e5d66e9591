"""One run: bursts of tasks, an autoscaler that follows them, and what was seen meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import grpc

from contentgen.v1 import task_pb2
from lab.benchmarks.autoscaling.autoscaler import Autoscaler, Scaling
from lab.benchmarks.autoscaling.workers import WorkerSet
from tests.harness.client import request
from tests.harness.stack import EMBEDDED, Stack

LEASE_TTL = 30.0
TICK = 0.25
"""Seconds between two samples."""
MAX_BURST = 600.0
"""Seconds until a burst has to be done, and all workers gone."""


@dataclass(frozen=True, slots=True)
class Load:
    """Tasks of each burst; `slots` of a worker, `run_seconds` of the first one's CLI."""

    bursts: tuple[int, ...]
    slots: int
    run_seconds: float


@dataclass(frozen=True, slots=True)
class Sample:
    """What there was at one moment: seconds since the start, tasks, and worker processes."""

    time: float
    demand: int
    open_tasks: int
    serving: int
    workers: int


@dataclass(frozen=True, slots=True)
class Burst:
    """When it came, and the seconds from then on. `scaled_up`: as many workers serve as it ever had."""

    tasks: int
    time: float
    first_worker: float
    scaled_up: float
    drained: float
    at_zero: float


@dataclass(slots=True)
class Outcome:
    samples: list[Sample] = field(default_factory=list)
    bursts: list[Burst] = field(default_factory=list)
    attempts: dict[int, int] = field(default_factory=dict)
    """How many tasks needed how many attempts: all need one if no CLI was stopped."""
    completed: int = 0
    worker_statuses: list[int | None] = field(default_factory=list)
    runs_in_drains: int = 0
    """CLIs that ran when their worker was told to go."""

    def document(self) -> dict[str, Any]:
        return asdict(self)


class Experiment:
    """A scheduler on a database of its own, and the workers that the autoscaler wants."""

    def __init__(self, stack: Stack, load: Load, scaling: Scaling, say: Callable[[str], None]) -> None:
        settings = {"CONTENTGEN_SCALER_LISTEN": "127.0.0.1:0"}
        self._scheduler = stack.scheduler(lease_ttl=LEASE_TTL, database_url=EMBEDDED, **settings)
        self._workers = WorkerSet(stack, self._scheduler, slots=load.slots, run_seconds=load.run_seconds)
        self._load = load
        self._scaling = scaling
        self._say = say
        self._outcome = Outcome()
        self._began = 0.0

    def run(self) -> Outcome:
        """Runs all bursts, each once the one before is done and no worker is left."""
        self._scheduler.start()
        (event,) = self._scheduler.events("ready")
        client = self._scheduler.client
        account_id = client.create_account()
        self._began = time.monotonic()
        task_ids: list[str] = []
        with grpc.insecure_channel(event["scaler_listen"]) as channel:
            autoscaler = Autoscaler(channel, self._scaling)
            for count in self._load.bursts:
                begin = self._now()
                task_ids += client.submit_all(request(account_id) for _ in range(count))
                samples = list(self._follow(autoscaler))
                self._outcome.samples += samples
                self._outcome.bursts.append(_burst(count, begin, samples))
                self._say(_told(self._outcome.bursts[-1]))
        for task in client.tasks(task_ids):
            self._outcome.completed += task.status == task_pb2.TASK_STATUS_COMPLETED
            self._outcome.attempts[task.attempt] = self._outcome.attempts.get(task.attempt, 0) + 1
        self._outcome.worker_statuses = self._workers.statuses
        self._outcome.runs_in_drains = self._workers.runs_in_drains
        return self._outcome

    def _follow(self, autoscaler: Autoscaler) -> Iterator[Sample]:
        """Scales until nothing is left to do and no worker runs."""
        deadline = self._now() + MAX_BURST
        next_poll, demand = 0.0, 0
        while (now := self._now()) < deadline:
            if now >= next_poll:
                demand, next_poll = autoscaler.demand(), now + self._scaling.poll
                self._workers.scale(autoscaler.replicas(demand))
            counts = self._scheduler.client.counts()
            open_tasks = sum(counts.get(status, 0) for status in ("pending", "submitted", "processing"))
            sample = Sample(now, demand, open_tasks, self._workers.serving, self._workers.running)
            yield sample
            if not (sample.demand or sample.open_tasks or sample.workers):
                return
            time.sleep(TICK)
        raise TimeoutError(f"a burst was not done after {MAX_BURST:.0f} s")

    def _now(self) -> float:
        return time.monotonic() - self._began


def _burst(tasks: int, begin: float, samples: list[Sample]) -> Burst:
    maximum = max(sample.serving for sample in samples)
    first = next(sample.time for sample in samples if sample.serving)
    scaled = next(sample.time for sample in samples if sample.serving == maximum)
    drained = next(sample.time for sample in samples if not sample.open_tasks)
    return Burst(tasks, begin, first - begin, scaled - begin, drained - begin, samples[-1].time - begin)


def _told(burst: Burst) -> str:
    return (
        f"{burst.tasks} tasks: first worker after {burst.first_worker:.1f} s, all of them after"
        f" {burst.scaled_up:.1f} s, done after {burst.drained:.1f} s, no worker after {burst.at_zero:.1f} s"
    )
