"""What `contentgen doctor` would find, as far as the user's own token may see it, with the page where to look."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from console_svc.web.language import Texts, refused
from console_svc.web.sessions import Session, permitted
from contentgen import RequestError, System
from contentgen.doctor import pool, schedulers, work
from contentgen.doctor.findings import Finding, Level, Phrase, fail

STUCK_AFTER = 300.0
"""Seconds, as the command has it."""
MAX_SUBMITTED = 1_000
FRESH = 10.0
"""Seconds for which an examination is shown again, whoever of the same token asks."""
MAX_KEPT = 1_000
DEFAULT_QUEUE_LIMIT = 1_000_000


@dataclass(frozen=True, slots=True)
class Subject:
    """What a check is about: a text of the page, and where to look."""

    title: str
    path: str


SUBJECTS: Mapping[str, Subject] = {
    "schedulers": Subject("Schedulers", "/workers"),
    "locks": Subject("Locks", "/workers"),
    "durability": Subject("Durability", "/workers"),
    "clock": Subject("Clocks", "/workers"),
    "settings": Subject("Settings", "/workers"),
    "snapshots": Subject("Transactions", "/workers"),
    "version": Subject("Version", "/workers"),
    "workers": Subject("Workers", "/workers"),
    "cli": Subject("CLI", "/workers"),
    "queue": Subject("Queue", "/tasks?status=pending"),
    "dispatch": Subject("Dispatch", "/workers"),
    "submitted": Subject("Handed out", "/tasks?status=submitted"),
    "options": Subject("Refused options", "/tasks?status=failed"),
    "publishing": Subject("Publications", "/pool?status=failed"),
}
"""By the names of the checks."""

Check = Callable[[], Awaitable[Sequence[Finding]]]


@dataclass(frozen=True, slots=True)
class Card:
    """A finding in the page's language."""

    title: str
    level: str
    message: str
    advice: str
    path: str


def cards(findings: Sequence[Finding], texts: Texts, pages: Collection[str]) -> list[Card]:
    """Returns the findings as cards, with links to those `pages` that the user has."""

    def translated(text: Phrase | str) -> str:
        return (
            text.said(lambda template, values: texts(template, **values)) if isinstance(text, Phrase) else texts(text)
        )

    def card(finding: Finding) -> Card:
        subject = SUBJECTS.get(finding.check, Subject(finding.check, ""))
        path = subject.path if subject.path.partition("?")[0] in pages else ""
        return Card(subject.title, finding.level.value, translated(finding.message), translated(finding.advice), path)

    return [card(finding) for finding in findings]


class Diagnoses:
    """Examines, and keeps what was found for a while: open pages load anew each second, and this takes many calls."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str | None, tuple[float, asyncio.Task[Sequence[Finding]]]] = {}

    async def problems(self, session: Session) -> Sequence[Finding]:
        """Returns the findings that are not all right, the failures first."""
        now = self._clock()
        start, job = self._kept.get(session.token, (0.0, None))
        if job is None or now - start > FRESH:
            job = asyncio.create_task(_examined(session))
            while len(self._kept) >= MAX_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[session.token] = now, job
        problems = [finding for finding in await asyncio.shield(job) if finding.level is not Level.OK]
        return sorted(problems, key=lambda finding: finding.level is not Level.FAIL)

    def forget(self, session: Session) -> None:
        """Forgets what was found: after a change it may be put right."""
        self._kept.pop(session.token, None)


async def _examined(session: Session) -> Sequence[Finding]:
    system = await permitted(_may(session, "SystemService/GetSystem"), schedulers.system_of(session.client))
    results = await asyncio.gather(*(_safely(name, check) for name, check in _checks(session, system)))
    return [finding for findings in results for finding in findings]


def _may(session: Session, *methods: str) -> bool:
    return all(session.may(method) for method in methods)


def _checks(session: Session, system: System | None) -> Iterator[tuple[str, Check]]:
    """Yields the checks that the user may make."""
    client = session.client

    async def of_schedulers() -> Sequence[Finding]:
        return list(schedulers.schedulers(system))

    async def of_workers() -> Sequence[Finding]:
        status = await client.get_worker_pool_status()
        workers = status["worker_statuses"]
        versions = pool.versions(Phrase("this console"), workers, schedulers.versions(system))
        return [*versions, *pool.workers(status), *pool.clis(workers)]

    async def of_queue() -> Sequence[Finding]:
        limit = (system["limits"]["max_queue_size"] if system else 0) or DEFAULT_QUEUE_LIMIT
        return list(work.queue(await client.get_task_stats(), limit))

    async def of_dispatch() -> Sequence[Finding]:
        return await work.dispatch(client, STUCK_AFTER)

    async def of_submitted() -> Sequence[Finding]:
        return [await work.submitted(client, STUCK_AFTER, MAX_SUBMITTED)]

    async def of_options() -> Sequence[Finding]:
        return await work.refused_options(client)

    async def of_publishing() -> Sequence[Finding]:
        return await work.unpublished(client)

    lists, stats = "TaskService/ListTasks", "TaskService/GetTaskStats"
    shows, dispatch = "WorkerPoolService/GetWorkerPool", "WorkerPoolService/GetDispatchStatus"
    for name, methods, check in (
        ("schedulers", (), of_schedulers),
        ("workers", (shows,), of_workers),
        ("queue", (stats,), of_queue),
        ("dispatch", (lists, "TaskService/GetTask", stats, shows, dispatch), of_dispatch),
        ("submitted", (lists,), of_submitted),
        ("options", (lists,), of_options),
        ("publishing", ("ContentService/ListPublishPool",), of_publishing),
    ):
        if _may(session, *methods):
            yield name, check


async def _safely(name: str, check: Check) -> Sequence[Finding]:
    """Runs a check. If its calls fail, that is its finding, and the other checks continue."""
    try:
        return await check()
    except RequestError as error:
        return [fail(name, refused(error), "")]
