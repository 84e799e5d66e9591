"""Clients: calls in flight one after the other, and single submits at random moments.

Part of `lab.simulation`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial

from lab.simulation.clock import Process
from lab.simulation.database import Task
from lab.simulation.fleet import Address, Surroundings

DEADLINE_S = 10.0
"""Of a client's call; a submit with a `request_id` may then be repeated."""
REPEAT_S = 1.0
"""Between a failed call and its repetition, on average."""


class ClosedLoop:
    """As the benchmarks' loader: so many calls in flight, each with a batch, until all tasks are submitted."""

    def __init__(self, around: Surroundings, address: Address, tasks: int, batch: int, in_flight: int) -> None:
        self.ended_at = 0.0
        self._around = around
        self._address = address
        self._left = tasks
        self._batch = batch
        self._in_flight = in_flight
        for _ in range(in_flight):
            self._call()

    def _call(self, _committed: bool = True) -> None:
        self.ended_at = self._around.clock.now
        if self._left <= 0:
            return
        self._left -= self._batch
        costs = self._around.costs
        seconds = costs.client_call + self._batch * costs.client_task
        tasks = [Task(self._around.clock.now) for _ in range(self._batch)]
        assert self._around.process
        assert self._address.scheduler
        self._around.process.use(seconds)(partial(self._address.scheduler.submit, tasks, self._call))


class _Call:
    """A submit, until it is answered or late."""

    def __init__(self, tasks: list[Task], arrivals: Arrivals) -> None:
        self._tasks = tasks
        self._arrivals = arrivals
        self._over = False

    def answered(self, committed: bool) -> None:
        if self._over:
            return
        self._over = True
        if committed:
            self._arrivals.waiting -= len(self._tasks)
        else:
            self._arrivals.repeat(self._tasks)

    def late(self) -> None:
        self.answered(False)


class Arrivals:
    """Submits at random moments, `rate` tasks a second, each to one of the addresses. Failed ones are repeated.

    `latencies`: from the call to the worker, in seconds; `waiting`: tasks that are not stored yet.
    """

    def __init__(self, around: Surroundings, addresses: Sequence[Address], rate: float, *, batch: int = 1) -> None:
        self.addresses = addresses
        self.latencies: list[float] = []
        self.submitted = self.waiting = 0
        self._around = around
        self._rate = rate
        self._batch = batch
        self._stopped = False
        around.clock.start(self._arrive())

    @property
    def longest(self) -> float:
        return max(self.latencies, default=0.0)

    def stop(self) -> None:
        """Submits nothing more."""
        self._stopped = True

    def _arrive(self) -> Process[None]:
        while True:
            yield self._around.clock.wait(random.expovariate(self._rate / self._batch))
            if self._stopped:
                return
            self.submitted += self._batch
            self.waiting += self._batch
            now = self._around.clock.now
            self._submit([Task(now, self._noting(now)) for _ in range(self._batch)])

    def _noting(self, begin: float) -> Callable[[float], None]:
        return lambda now: self.latencies.append(now - begin)

    def _submit(self, tasks: list[Task]) -> None:
        """Gives up after a while, as a client's deadline has it: a call may die with its scheduler."""
        scheduler = random.choice(self.addresses).scheduler
        if scheduler is None or not scheduler.alive:
            self.repeat(tasks)
            return
        call = _Call(tasks, self)
        submit = partial(scheduler.submit, tasks, call.answered)
        if self._around.process:
            costs = self._around.costs
            self._around.process.use(costs.client_call + len(tasks) * costs.client_task)(submit)
        else:
            submit()
        if self._batch > 1:
            self._around.clock.after(DEADLINE_S, call.late)

    def repeat(self, tasks: list[Task]) -> None:
        self._around.clock.after(random.uniform(0, 2 * REPEAT_S), partial(self._submit, tasks))
