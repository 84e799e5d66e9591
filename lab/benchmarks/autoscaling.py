"""`python -m lab.benchmarks.autoscaling`: workers follow bursts of tasks from none to some and back, on this machine.

A small autoscaler stands in for KEDA and the HorizontalPodAutoscaler: it asks a real scheduler's ExternalScaler, and
starts and drains real worker processes, whose CLI is the demo creator. It tells how long each burst took to scale and
to drain, and fails if a CLI was stopped or a task was run twice.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import grpc

from contentgen.v1 import task_pb2
from lab.benchmarks.command import add_sizes, chosen_sizes, size
from lab.benchmarks.kept import pyplot, save
from tests.harness.client import request
from tests.harness.scrape import Keda
from tests.harness.stack import EMBEDDED, Scheduler, Stack, Worker, running_stack

LEASE_TTL = 30.0
TICK = 0.25
MAX_BURST = 600.0
"""Seconds until a burst has to be done, and all workers gone."""


@dataclass(frozen=True, slots=True)
class Options:
    bursts: tuple[int, ...] = size((20, 60, 10), "tasks of each burst, by comma")
    slots: int = size(3, "tasks that a worker runs at once")
    max_workers: int = size(5, "workers at most")
    run_seconds: float = size(5.0, "how long a CLI of the first worker runs")
    stabilization: float = size(3.0, "seconds before it scales in")
    poll: float = size(1.0, "seconds between two questions")


@dataclass(frozen=True, slots=True)
class Sample:
    """What there was at one moment: seconds since the start, tasks, and worker processes."""

    time: float
    demand: int
    open_tasks: int
    serving: int
    workers: int


@dataclass(slots=True)
class Outcome:
    samples: list[Sample] = field(default_factory=list)
    bursts: list[dict[str, float]] = field(default_factory=list)
    """Of each: its tasks, when it came, and the seconds from then on."""
    attempts: dict[int, int] = field(default_factory=dict)
    """How many tasks needed how many attempts: all need one if no CLI was stopped."""
    completed: int = 0
    worker_statuses: list[int | None] = field(default_factory=list)
    runs_in_drains: int = 0
    """CLIs that ran when their worker was told to go."""


class WorkerSet:
    """Worker processes as a StatefulSet runs them: numbered from 0, the highest number goes first, by TERM.

    The CLI of a later one runs longer: some run when they have to go.
    """

    def __init__(self, stack: Stack, scheduler: Scheduler, options: Options, outcome: Outcome) -> None:
        self.scheduler = scheduler
        self._stack = stack
        self._options = options
        self._outcome = outcome
        self._workers: list[Worker] = []
        self._draining: list[Worker] = []

    def scale(self, replicas: int) -> None:
        """Starts workers up to this number, or lets the highest ones drain. One that still drains keeps its number."""
        while len(self._workers) > replicas:
            self._draining.append(self._workers.pop())
            self._draining[-1].signal(signal.SIGTERM)
        busy = {worker.name for worker in self._draining}
        while len(self._workers) < replicas and (name := f"worker-{len(self._workers)}") not in busy:
            seconds = self._options.run_seconds * (1 + len(self._workers) / 4)
            settings = {"CREATOR_DEMO_SECONDS": f"{seconds:g}"}
            worker = self._stack.worker(name, self.scheduler, slots=self._options.slots, **settings)
            self._workers.append(worker.launch())

    @property
    def serving(self) -> int:
        """Workers that have opened a session and do not drain."""
        return sum(worker.served for worker in self._workers)

    def running(self) -> int:
        """Returns the number of processes, those that start or drain too; notes of those that have ended how."""
        for worker in [worker for worker in self._draining if not worker.alive]:
            self._draining.remove(worker)
            self._outcome.worker_statuses.append(worker.exit_status)
            self._outcome.runs_in_drains += worker.events("worker.draining")[-1]["running"]
        return len(self._workers) + len(self._draining)


class Autoscaler:
    """What one trigger of KEDA does, which asks ExternalScaler.

    The rule is Kubernetes' own: as many replicas as the demand divided by what one of them takes, rounded up; up at
    once, down to the highest number that was wanted within the stabilization window.
    (https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/)
    """

    def __init__(self, channel: grpc.Channel, workers: WorkerSet, options: Options) -> None:
        self._keda = Keda(channel, options.slots)
        self._workers = workers
        self._options = options
        self._wanted: deque[tuple[float, int]] = deque()

    def scale(self) -> int:
        """Scales to what is wanted now; returns the demand."""
        demand, now = self._keda.metric()[0], time.monotonic()
        self._wanted.append((now, min(math.ceil(demand / self._options.slots), self._options.max_workers)))
        while self._wanted[0][0] < now - self._options.stabilization:
            self._wanted.popleft()
        self._workers.scale(max(count for _, count in self._wanted))
        return demand

    def samples(self, began: float) -> Iterator[Sample]:
        """Scales until nothing is left to do and no worker runs. `began`: when the run did."""
        begin = next_poll = time.monotonic()
        demand = 0
        while (now := time.monotonic()) < begin + MAX_BURST:
            if now >= next_poll:
                demand, next_poll = self.scale(), now + self._options.poll
            counts = self._workers.scheduler.client.counts()
            open_tasks = sum(counts.get(status, 0) for status in ("pending", "submitted", "processing"))
            running = self._workers.running()
            yield Sample(now - began, demand, open_tasks, self._workers.serving, running)
            if not (demand or open_tasks or running):
                return
            time.sleep(TICK)
        raise TimeoutError(f"a burst was not done after {MAX_BURST:.0f} s")


def measure(stack: Stack, options: Options) -> Outcome:
    outcome, settings = Outcome(), {"CONTENTGEN_SCALER_LISTEN": "127.0.0.1:0"}
    scheduler = stack.scheduler(lease_ttl=LEASE_TTL, database_url=EMBEDDED, **settings).start()
    (event,) = scheduler.events("ready")
    account_id, began = scheduler.client.create_account(), time.monotonic()
    task_ids: list[str] = []
    with grpc.insecure_channel(event["scaler_listen"]) as channel:
        autoscaler = Autoscaler(channel, WorkerSet(stack, scheduler, options, outcome), options)
        for count in options.bursts:
            begin = time.monotonic() - began
            task_ids += scheduler.client.submit_all(request(account_id) for _ in range(count))
            samples = list(autoscaler.samples(began))
            outcome.samples += samples
            outcome.bursts.append(_burst(count, begin, samples))
    tasks = scheduler.client.tasks(task_ids)
    outcome.completed = sum(task.status == task_pb2.TASK_STATUS_COMPLETED for task in tasks)
    outcome.attempts = dict(Counter(task.attempt for task in tasks))
    return outcome


def _burst(tasks: int, begin: float, samples: list[Sample]) -> dict[str, float]:
    """Returns what the samples say of a burst, and says it on stderr. All serve once as many do as ever did."""
    maximum = max(sample.serving for sample in samples)
    moments = {
        "first_worker": next(sample.time for sample in samples if sample.serving),
        "scaled_up": next(sample.time for sample in samples if sample.serving == maximum),
        "drained": next(sample.time for sample in samples if not sample.open_tasks),
        "at_zero": samples[-1].time,
    }
    burst = {"tasks": tasks, "time": begin, **{name: moment - begin for name, moment in moments.items()}}
    sys.stderr.write(
        "{tasks} tasks: first worker after {first_worker:.1f} s, all of them after {scaled_up:.1f} s,"
        " done after {drained:.1f} s, no worker after {at_zero:.1f} s\n".format(**burst)
    )
    return burst


def draw(outcome: Outcome, path: Path) -> None:
    """Writes a plot, tasks above, workers below. Raises ModuleNotFoundError without matplotlib."""
    times = [sample.time for sample in outcome.samples]
    figure, (tasks, workers) = pyplot().subplots(2, 1, sharex=True, figsize=(9, 5), layout="constrained")
    tasks.plot(times, [sample.open_tasks for sample in outcome.samples], label="tasks that have not ended")
    tasks.plot(times, [sample.demand for sample in outcome.samples], label="demand, as KEDA is told", linestyle="--")
    workers.step(times, [sample.workers for sample in outcome.samples], where="post", label="worker processes")
    workers.step(times, [sample.serving for sample in outcome.samples], where="post", label="of these, take tasks")
    for axes in (tasks, workers):
        for burst in outcome.bursts:
            axes.axvline(burst["time"], color="grey", linewidth=0.8, linestyle=":")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper right")
    workers.set_xlabel("seconds; a dotted line is a burst")
    workers.yaxis.get_major_locator().set_params(integer=True)
    save(figure, path)


def main() -> None:
    prog, defaults = "python -m lab.benchmarks.autoscaling", argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=defaults)
    add_sizes(parser, Options)
    parser.add_argument("--plot", type=Path, help="write a plot to this SVG file (pip install matplotlib)")
    parser.add_argument("--output", choices=("text", "json"), default="text", help="what to print")
    arguments = parser.parse_args()
    options = Options(**chosen_sizes(arguments, Options))
    outcome = _run(options)
    if arguments.plot:
        draw(outcome, arguments.plot)
    if arguments.output == "json":
        print(json.dumps(asdict(outcome), indent=1))
    tasks = sum(options.bursts)
    endings = ", ".join(f"{count} with {status}" for status, count in Counter(outcome.worker_statuses).items())
    sys.stderr.write(
        f"{outcome.completed} of {tasks} tasks completed, by attempts {outcome.attempts};"
        f" workers that ended: {endings}, of whose CLIs {outcome.runs_in_drains} ran then\n"
    )
    lost = outcome.completed != tasks or set(outcome.attempts) != {1} or set(outcome.worker_statuses) != {0}
    sys.exit(int(lost))


def _run(options: Options) -> Outcome:
    """Shows what the processes said only if it fails."""
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output), running_stack(EMBEDDED) as stack:
            return measure(stack, options)
    except BaseException:
        sys.stderr.write(output.getvalue())
        raise


if __name__ == "__main__":
    main()
