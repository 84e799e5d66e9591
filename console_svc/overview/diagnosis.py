"""What `contentgen doctor` would find, as far as the user's own token may see it, with the page where to look."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import NamedTuple

from console_svc.web.language import Texts, refused
from console_svc.web.sessions import Session, permitted
from contentgen import RequestError
from contentgen.doctor import pool, schedulers, work
from contentgen.doctor.findings import Finding, Level, Phrase, fail

STUCK_AFTER = 300.0
"""Seconds, as the command has it."""
MAX_SUBMITTED = 1_000
FRESH = 10.0
"""Seconds for which an examination is shown again, whoever of the same token asks."""
MAX_KEPT = 1_000


class Subject(NamedTuple):
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


def cards(findings: Sequence[Finding], texts: Texts, pages: Collection[str]) -> list[dict[str, str]]:
    """Returns the findings in the page's language, with links to those `pages` that the user has."""

    def translated(text: Phrase | str) -> str:
        if isinstance(text, Phrase):
            return text.said(lambda template, values: texts(template, **values))
        return texts(text)

    def card(finding: Finding) -> dict[str, str]:
        subject = SUBJECTS.get(finding.check, Subject(finding.check, ""))
        return {
            "title": subject.title,
            "level": finding.level.value,
            "message": translated(finding.message),
            "advice": translated(finding.advice),
            "path": subject.path if subject.path.partition("?")[0] in pages else "",
        }

    return [card(finding) for finding in findings]


class Diagnoses:
    """Examines, and keeps what was found for a while: open pages load anew each second, and this takes many calls."""

    def __init__(self) -> None:
        self._kept: dict[str | None, tuple[float, asyncio.Task[Sequence[Finding]]]] = {}

    async def problems(self, session: Session) -> Sequence[Finding]:
        """Returns the findings that are not all right, the failures first."""
        now = time.monotonic()
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
    client = session.client
    system = await permitted(session.may("SystemService/GetSystem"), schedulers.system_of(client))
    versions = schedulers.versions(system)
    lists, stats = "TaskService/ListTasks", "TaskService/GetTaskStats"
    shows, dispatch = "WorkerPoolService/GetWorkerPool", "WorkerPoolService/GetDispatchStatus"
    results = await asyncio.gather(
        *(
            _safely(name, permitted(all(map(session.may, methods)), check))
            for name, methods, check in (
                ("workers", (shows,), pool.examined(client, Phrase("this console"), versions)),
                ("queue", (stats,), work.queue(client, system)),
                (
                    "dispatch",
                    (lists, "TaskService/GetTask", stats, shows, dispatch),
                    work.dispatch(client, STUCK_AFTER),
                ),
                ("submitted", (lists,), work.submitted(client, STUCK_AFTER, MAX_SUBMITTED)),
                ("options", (lists,), work.refused_options(client)),
                ("publishing", ("ContentService/ListPublishPool",), work.unpublished(client)),
            )
        )
    )
    return [*schedulers.schedulers(system), *(finding for findings in results for finding in findings)]


async def _safely(name: str, check: Awaitable[list[Finding] | None]) -> list[Finding]:
    """Returns what a check finds. If its calls fail, that is its finding, and the other checks continue."""
    try:
        return await check or []
    except RequestError as error:
        return [fail(name, refused(error), "")]
