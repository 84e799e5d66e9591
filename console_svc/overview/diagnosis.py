"""What is wrong, as far as the user's own token may see it: what `contentgen doctor` would find, failures, webhooks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import NamedTuple

from console_svc.tasks.causes import Causes, causes_of
from console_svc.web.language import refused
from console_svc.web.paging import taken
from console_svc.web.sessions import Session, permitted
from contentgen import AsyncContentGenerationClient, RequestError, Webhook
from contentgen.doctor import pool, schedulers, work
from contentgen.doctor.findings import Finding, Level, Phrase, fail

STUCK_AFTER = 300.0
"""Seconds, as the command has it."""
MAX_SUBMITTED = 1_000
FRESH = 10.0
"""Seconds for which an examination is shown again, whoever of the same token asks."""
MAX_KEPT = 1_000
MAX_WEBHOOKS = 200


class Subject(NamedTuple):
    """What a check is about: a text of the page, and where to look."""

    title: str
    page: str
    query: str = ""


SUBJECTS: Mapping[str, Subject] = {
    "schedulers": Subject("Schedulers", "/workers"),
    "locks": Subject("Locks", "/workers"),
    "durability": Subject("Durability", "/workers"),
    "clock": Subject("Clocks", "/workers"),
    "settings": Subject("Settings", "/workers"),
    "snapshots": Subject("Transactions", "/workers"),
    "standby": Subject("Standby", "/workers"),
    "version": Subject("Version", "/workers"),
    "workers": Subject("Workers", "/workers"),
    "cli": Subject("CLI", "/workers"),
    "queue": Subject("Queue", "/tasks", "?status=pending"),
    "dispatch": Subject("Dispatch", "/workers"),
    "submitted": Subject("Handed out", "/tasks", "?status=submitted"),
}
"""By the names of the checks."""


class Examined(NamedTuple):
    """What is wrong, as far as the user may see it."""

    findings: Sequence[Finding]
    causes: Causes | None
    webhooks: Sequence[Webhook]


class Diagnoses:
    """Examines, and keeps what was found for a while: open pages load anew each second, and this takes many calls."""

    def __init__(self) -> None:
        self._kept: dict[str | None, tuple[float, asyncio.Task[Examined]]] = {}

    async def examined(self, session: Session) -> Examined:
        now = time.monotonic()
        start, job = self._kept.get(session.owner, (0.0, None))
        if job is None or now - start > FRESH:
            job = asyncio.create_task(_examined(session))
            while len(self._kept) >= MAX_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[session.owner] = now, job
        return await asyncio.shield(job)

    def forget(self, session: Session) -> None:
        """Forgets what was found: after a change it may be put right."""
        self._kept.pop(session.owner, None)


async def _examined(session: Session) -> Examined:
    findings, causes, webhooks = await asyncio.gather(
        _findings(session),
        permitted(session.may("TaskService/ListTasks"), causes_of(session.client)),
        permitted(session.may("WebhookService/ListWebhooks"), _failing(session.client)),
    )
    return Examined(findings, causes, webhooks or ())


async def _failing(client: AsyncContentGenerationClient) -> Sequence[Webhook]:
    webhooks = await taken(client.iter_webhooks(page_size=MAX_WEBHOOKS), MAX_WEBHOOKS)
    return [webhook for webhook in webhooks if webhook["last_error"]]


async def _findings(session: Session) -> Sequence[Finding]:
    """Returns the findings that are not all right."""
    client = session.client
    system = await permitted(session.may("SystemService/GetSystem"), schedulers.system_of(client))
    versions = schedulers.versions(system)
    lists, stats, shows = "TaskService/ListTasks", "TaskService/GetTaskStats", "WorkerPoolService/GetWorkerPool"
    results = await asyncio.gather(
        *(
            _safely(name, permitted(all(map(session.may, methods)), check))
            for name, methods, check in (
                ("workers", (shows,), pool.examined(client, Phrase("this console"), versions)),
                ("queue", (stats,), work.queue(client, system)),
                ("dispatch", (lists, "TaskService/GetTask", stats, shows), work.starved(client, STUCK_AFTER)),
                ("submitted", (lists,), work.submitted(client, STUCK_AFTER, MAX_SUBMITTED)),
            )
        )
    )
    findings = [*schedulers.schedulers(system), *(finding for findings in results for finding in findings)]
    without_workers = any(finding.check == "workers" and finding.level is Level.FAIL for finding in findings)
    return [
        finding
        for finding in findings
        if finding.level is not Level.OK and not (without_workers and finding.check == "dispatch")
    ]


async def _safely(name: str, check: Awaitable[list[Finding] | None]) -> list[Finding]:
    """Returns what a check finds. If its calls fail, that is its finding, and the other checks continue."""
    try:
        return await check or []
    except RequestError as error:
        return [fail(name, refused(error), "")]
