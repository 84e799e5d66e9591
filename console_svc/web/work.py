"""Long work that goes on while its page shows how far it is: in memory, for those with the token that began it.

Each kind of work is safe to begin anew, so a restart of the console loses only the sight of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import structlog

from console_svc.web.language import PageText, filled, refused, text
from console_svc.web.sessions import Session
from contentgen import RequestError, Unavailable

MAX_KEPT = 200
"""Beyond it those that have ended longest ago are forgotten."""
MAX_FAILURES = 500
"""Failures that are kept with their names, for each work."""
PATIENCE = 60
"""Times that a call is repeated, a second apart, while no scheduler answers."""
RETRY_INTERVAL = 1.0

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class Failure(NamedTuple):
    """What was not done: a name for people, the page of it if there is one, and why."""

    name: str
    path: str
    why: PageText


@dataclass(eq=False, slots=True)
class Work:
    """`back` is where its page leads when it has ended."""

    key: str
    title: PageText
    total: int
    back: str
    done: int = 0
    failures: list[Failure] = field(default_factory=list)
    failed: int = 0
    stopped: str = ""
    """A text that says why it did not reach its end."""
    job: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        return self.job is not None and self.job.done()

    @property
    def percent(self) -> int:
        return 100 if self.ended and not self.stopped else 100 * (self.done + self.failed) // max(self.total, 1)

    def fail(self, name: str, path: str, why: str, /, **values: object) -> None:
        self.failed += 1
        if len(self.failures) < MAX_FAILURES:
            self.failures.append(Failure(name, path, filled(why, **values)))

    def stop(self) -> None:
        """Stops the work and leaves what is under way where it is."""
        if self.job is not None and not self.job.done():
            self.stopped = text("You have stopped it.")
            self.job.cancel()


Run = Callable[[Work], Awaitable[None]]


class WorkRegistry:
    """Begins work and finds it again. Runs on the event loop."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[str | None, str], Work] = {}

    def begin(self, session: Session, key: str, title: PageText, run: Run, *, total: int, back: str) -> Work:
        """Begins work; the same key again returns what began first."""
        if earlier_work := self.find(session, key):
            return earlier_work
        work = Work(key, title, total, back)
        ended_keys = [key for key, earlier_work in self._by_key.items() if earlier_work.ended]
        for ended_key in ended_keys[: max(len(self._by_key) - MAX_KEPT + 1, 0)]:
            del self._by_key[ended_key]
        self._by_key[session.owner, key] = work
        work.job = asyncio.create_task(_whole(work, run))
        return work

    def find(self, session: Session, key: str) -> Work | None:
        return self._by_key.get((session.owner, key))

    async def close(self) -> None:
        jobs = [work.job for work in self._by_key.values() if work.job]
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)


async def _whole(work: Work, run: Run) -> None:
    try:
        await run(work)
    except RequestError as error:
        work.stopped = filled(text("It stopped: {why}"), why=refused(error))
    except Exception:  # noqa: BLE001 - its page says so, and the console goes on
        work.stopped = text("It stopped by a defect of the console; its log has more.")
        _log.exception("work failed", action="work", key=work.key)


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Repeats a call that is safe to repeat while no scheduler answers; returns its answer. Raises RequestError."""
    for _ in range(PATIENCE):
        try:
            return await call()
        except Unavailable:
            await asyncio.sleep(RETRY_INTERVAL)
    return await call()


async def soon(work: Work, seconds: float) -> bool:
    """Waits for work, and returns whether it has ended within so many seconds."""
    if work.job is not None:
        await asyncio.wait([work.job], timeout=seconds)
    return work.ended


async def run_for_all(items: Iterable[T], limit: int, run: Callable[[T], Awaitable[None]]) -> None:
    """Awaits `run` for each item, `limit` at a time: as many loops share one iterator."""
    pending = iter(items)

    async def take_turns() -> None:
        for item in pending:
            await run(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(limit):
            group.create_task(take_turns())
