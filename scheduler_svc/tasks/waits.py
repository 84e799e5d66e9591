"""Waits for tasks, and polls of the workers that run them.

A wait is woken by the signal that a task has ended, on whichever replica. A poll asks workers now, on whichever replica
they are. A worker's answer is committed with a heartbeat, after the reports of what it saw (rule 18). So the database
then has the truth, and each caller reads it there, whoever polled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scheduler_svc.domain.account import ALL, Scope
from scheduler_svc.domain.errors import ShuttingDown
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import Task
from scheduler_svc.domain.worker import POLL_TIMEOUT, AttemptCount, PollResult, RunningAttempt, summarize
from scheduler_svc.runtime.calls import Calls, SkipLocked
from scheduler_svc.tasks import query

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


REREAD_INTERVAL = 10.0
"""Seconds after which a wait reads the task itself, in case a signal was lost."""


class Waiters:
    """The waits, by task. Lives on the event loop."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._events: dict[int, set[asyncio.Event]] = {}
        self._closed = False

    async def wait(self, task_key: int, within: float) -> Task:
        """Returns the task once it has ended, or as it is after `within` seconds. Raises NotFound, ShuttingDown."""
        event = asyncio.Event()
        self._events.setdefault(task_key, set()).add(event)
        try:
            return await self._wait(task_key, event, within)
        finally:
            waiting = self._events[task_key]
            waiting.discard(event)
            if not waiting:
                del self._events[task_key]

    async def _wait(self, task_key: int, event: asyncio.Event, within: float) -> Task:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        while True:
            event.clear()
            task = await self._calls.run(query.get_task, task_key)
            left = deadline - loop.time()
            if task.ended or left <= 0:
                return task
            if self._closed:
                raise ShuttingDown
            try:
                async with asyncio.timeout(min(left, REREAD_INTERVAL)):
                    await event.wait()
            except TimeoutError:
                pass

    def wake(self, ended: Iterable[int]) -> None:
        if self._events:
            for task_key in ended:
                for event in self._events.get(task_key, ()):
                    event.set()

    def close(self) -> None:
        """Ends every wait with ShuttingDown."""
        self._closed = True
        self.wake_all()

    def wake_all(self) -> None:
        """Makes every wait read its task: signals may have been missed."""
        self.wake(list(self._events))


POLL_REREAD_INTERVAL = 3.0
"""Seconds after which a caller reads the answers itself, in case a signal was lost."""
MAX_BATCH = 10_000
"""Attempts that one transaction reads."""


@dataclass(frozen=True, slots=True)
class OpenPoll:
    """A poll that is under way: its number, and its attempts."""

    number: int
    attempts: tuple[RunningAttempt, ...]


def ask_running(tx: Tx, scope: Scope, *, skip_locked: bool = False) -> OpenPoll:
    """Polls every worker that holds attempts of these accounts; `skip_locked`: except those whose rows are locked."""
    return _ask(tx, tx.polls.running(scope), skip_locked=skip_locked)


def ask_task(tx: Tx, task_key: int, *, skip_locked: bool = False) -> OpenPoll:
    """Polls the worker that holds the task, if any. Raises NotFound."""
    query.require_own_tasks(tx, ALL, [task_key])
    return _ask(tx, tx.polls.running_of_task(task_key), skip_locked=skip_locked)


def _ask(tx: Tx, attempts: Sequence[RunningAttempt], *, skip_locked: bool) -> OpenPoll:
    if not attempts:
        return OpenPoll(0, ())
    workers = sorted({attempt.worker_id for attempt in attempts})
    number = tx.polls.request(workers, skip_locked=skip_locked)
    tx.signals.polled += [(worker_id, number) for worker_id in workers]
    return OpenPoll(number, tuple(attempts))


@dataclass(eq=False, slots=True)
class _Wait:
    answered: dict[str, int] = field(default_factory=dict)
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class PollWaiters:
    """The callers that wait for workers to answer. Lives on the event loop."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._skipping = SkipLocked(calls)
        self._waits: set[_Wait] = set()
        self._closed = False

    async def poll_running(self, scope: Scope) -> PollResult:
        """Returns what became of the attempts of these accounts that ran at the call. Raises ShuttingDown."""
        poll, silent = await self._ask(ask_running, scope)
        counts: list[AttemptCount] = []
        for start in range(0, len(poll.attempts), MAX_BATCH):
            batch = poll.attempts[start : start + MAX_BATCH]
            counts += await self._calls.run(lambda tx, attempts: tx.polls.attempt_counts(attempts), batch)
        return summarize(counts, silent)

    async def poll_task(self, task_key: int) -> Status:
        """Returns the task's status once its worker has answered or is silent. Raises NotFound, ShuttingDown."""
        await self._ask(ask_task, task_key)
        return (await self._calls.run(query.get_task, task_key)).status

    def answered(self, answers: Iterable[tuple[str, int]]) -> None:
        """Takes signals: these workers have answered these polls, and all before."""
        for worker_id, number in answers:
            for wait in self._waits:
                wait.answered[worker_id] = max(number, wait.answered.get(worker_id, 0))
                wait.woken.set()

    def close(self) -> None:
        """Ends every wait with ShuttingDown."""
        self._closed = True
        for wait in self._waits:
            wait.woken.set()

    async def _ask(self, ask: Callable[..., OpenPoll], about: Scope | int) -> tuple[OpenPoll, set[str]]:
        """Returns the poll, and the workers that have not answered in time."""
        deadline = asyncio.get_running_loop().time() + POLL_TIMEOUT
        wait = _Wait()
        self._waits.add(wait)  # before the poll is made: no answer is missed
        try:
            poll = await self._skipping.run(ask, about)
            return poll, await self._wait(wait, poll, deadline)
        finally:
            self._waits.discard(wait)

    async def _wait(self, wait: _Wait, poll: OpenPoll, deadline: float) -> set[str]:
        loop = asyncio.get_running_loop()
        silent = {attempt.worker_id for attempt in poll.attempts}
        while silent and (left := deadline - loop.time()) > 0:
            if self._closed:
                raise ShuttingDown
            try:
                async with asyncio.timeout(min(left, POLL_REREAD_INTERVAL)):
                    await wait.woken.wait()
                wait.woken.clear()
            except TimeoutError:
                silent -= await self._calls.run(lambda tx, workers: tx.polls.answered(workers, poll.number), silent)
            silent -= {worker_id for worker_id in silent if wait.answered.get(worker_id, 0) >= poll.number}
        return silent
