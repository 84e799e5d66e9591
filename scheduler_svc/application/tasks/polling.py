"""PollRunningTasks, PollTask: workers are asked now, and their answers are waited for, on whichever replica they are.

A worker's answer is committed with a state, behind the reports of what it saw (rule 18). So once it is there, the
database has the truth, and each caller reads it there, whoever asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from scheduler_svc.application.calls import Calls
from scheduler_svc.application.ports import Tx
from scheduler_svc.application.skip_locked import SkipLocked
from scheduler_svc.application.tasks import query
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.errors import NotFound, ShuttingDown
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.poll import POLL_TIMEOUT, AttemptCount, PollResult, RunningAttempt, summarize

REREAD_INTERVAL = 3.0
"""Seconds after which a caller looks for answers itself: signals are hints, and one may have been lost."""
MAX_BATCH = 10_000
"""Attempts whose fates are read in one transaction."""


@dataclass(frozen=True, slots=True)
class OpenPoll:
    """A poll under way: its number, and the attempts that it is about."""

    number: int
    attempts: tuple[RunningAttempt, ...]


def ask_running(tx: Tx, scope: Scope, *, skip_locked: bool = False) -> OpenPoll:
    """Asks every worker that holds attempts of these accounts; `cautious`: but for those whose row is locked."""
    return _ask(tx, tx.polls.running(scope), skip_locked=skip_locked)


def ask_task(tx: Tx, task_key: int, *, skip_locked: bool = False) -> OpenPoll:
    """Asks the worker that holds the task, if one does. Raises NotFound where there is no such task."""
    if not tx.task_reads.exists(task_key):
        raise NotFound("task", format_task_id(task_key))
    return _ask(tx, tx.polls.running_of_task(task_key), skip_locked=skip_locked)


def _ask(tx: Tx, attempts: Sequence[RunningAttempt], *, skip_locked: bool) -> OpenPoll:
    if not attempts:
        return OpenPoll(0, ())
    workers = sorted({attempt.worker_id for attempt in attempts})
    number = tx.polls.ask(workers, skip_locked=skip_locked)
    tx.signals.polled += [(worker_id, number) for worker_id in workers]
    return OpenPoll(number, tuple(attempts))


def _answered(tx: Tx, workers: Collection[str], number: int) -> set[str]:
    return tx.polls.answered(workers, number)


def _fates(tx: Tx, attempts: Sequence[RunningAttempt]) -> list[AttemptCount]:
    return tx.polls.attempt_counts(attempts)


@dataclass(eq=False, slots=True)
class _Wait:
    """One caller, and what was heard since it came: the newest poll that each worker has answered."""

    heard: dict[str, int] = field(default_factory=dict)
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class PollWaiters:
    """Who waits for workers to answer. Lives on the event loop."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._caution = SkipLocked(calls)
        self._waits: set[_Wait] = set()
        self._closed = False

    async def poll_running(self, scope: Scope) -> PollResult:
        """What became of the attempts of these accounts that ran at the call. Raises ShuttingDown."""
        asked, silent = await self._ask(ask_running, scope)
        fates: list[AttemptCount] = []
        for start in range(0, len(asked.attempts), MAX_BATCH):
            fates += await self._calls.run(_fates, asked.attempts[start : start + MAX_BATCH])
        return summarize(fates, silent)

    async def poll_task(self, task_key: int) -> Status:
        """Where a task stands once its worker has answered, or is found silent. Raises NotFound, ShuttingDown."""
        await self._ask(ask_task, task_key)
        return (await self._calls.run(query.get_task, task_key)).status

    def answered(self, answers: Iterable[tuple[str, int]]) -> None:
        """These workers have answered these polls, with all before them."""
        for worker_id, number in answers:
            for wait in self._waits:
                wait.heard[worker_id] = max(number, wait.heard.get(worker_id, 0))
                wait.woken.set()

    def close(self) -> None:
        """This replica goes away: who still waits is told to ask another one."""
        self._closed = True
        for wait in self._waits:
            wait.woken.set()

    async def _ask(self, ask: Callable[..., OpenPoll], about: Scope | int) -> tuple[OpenPoll, set[str]]:
        """What was asked, and which workers have not answered that in time."""
        deadline = asyncio.get_running_loop().time() + POLL_TIMEOUT
        wait = _Wait()
        self._waits.add(wait)  # before it is asked: no answer is missed
        try:
            asked = await self._caution.run(ask, about)
            return asked, await self._wait(wait, asked, deadline)
        finally:
            self._waits.discard(wait)

    async def _wait(self, wait: _Wait, asked: OpenPoll, deadline: float) -> set[str]:
        loop = asyncio.get_running_loop()
        silent = {attempt.worker_id for attempt in asked.attempts}
        while silent and (left := deadline - loop.time()) > 0:
            if self._closed:
                raise ShuttingDown
            try:
                async with asyncio.timeout(min(left, REREAD_INTERVAL)):
                    await wait.woken.wait()
                wait.woken.clear()
            except TimeoutError:
                silent -= await self._calls.run(_answered, silent, asked.number)
            silent -= {worker_id for worker_id in silent if wait.heard.get(worker_id, 0) >= asked.number}
        return silent
