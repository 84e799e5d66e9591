"""The verdict: whether all is well, else what is wrong, in order of weight, each with what mends it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from console_svc.overview.diagnosis import SUBJECTS, Examined, Subject
from console_svc.web.language import PageText, Texts, filled, plural, text
from console_svc.web.paging import counted
from console_svc.workers.page import Pause
from contentgen import Account, AuditEvent, PublishPoolEntry, WorkerPool
from contentgen.doctor.findings import Finding, Level, Phrase

LIMIT = 100
"""Where there are more, "100+" says enough."""
POOL, WORKERS, ACCOUNTS, TASKS, WEBHOOKS = "/pool", "/workers", "/accounts", "/tasks", "/webhooks"


class Mending(NamedTuple):
    """What mends a problem, for those who may call `method`: a form with these `fields`; None: a page."""

    label: str
    path: str
    method: str
    fields: Mapping[str, object] | None = None


class Problem(NamedTuple):
    """One line. `text` is a text of the page; `detail` is shown as it is."""

    text: str
    page: str
    """The page where to look, as the navigation has it."""
    query: str = ""
    level: Level = Level.WARN
    title: str = ""
    """What it is about, if the text does not say it."""
    detail: str = ""
    advice: str = ""
    """For operators."""
    event: AuditEvent | None = None
    """The call that brought it about."""
    mending: Mending | None = None


class Facts(NamedTuple):
    """What a verdict is made of, as far as the user may see it."""

    examined: Examined
    pool: WorkerPool | None
    pauses: Sequence[Pause]
    failed: tuple[Sequence[PublishPoolEntry], bool]
    """Publications, and whether there are more."""
    held_back: Sequence[tuple[Account, PageText]]


def verdict(facts: Facts, texts: Texts) -> list[Problem]:
    """Returns what is wrong: what does not work before what should be looked at."""
    problems = [
        *(_of_finding(finding, texts) for finding in facts.examined.findings),
        *map(_of_pause, facts.pauses),
        *_of_causes(facts.examined),
        *_of_workers(facts.pool),
        *_of_publications(*facts.failed),
        *_of_webhooks(facts.examined),
    ]
    if facts.pool and free_slots(facts.pool):
        problems += (
            Problem(hold, ACCOUNTS, f"/{account['account_id']}", detail=account["name"])
            for account, hold in facts.held_back
        )
    return sorted(problems, key=lambda problem: problem.level is not Level.FAIL)


def _of_finding(finding: Finding, texts: Texts) -> Problem:
    def translated(text: Phrase | str) -> str:
        if isinstance(text, Phrase):
            return text.said(lambda template, values: texts(template, **values))
        return texts(text)

    title, page, query = SUBJECTS.get(finding.check, Subject(finding.check, ""))
    message, advice = translated(finding.message), translated(finding.advice)
    return Problem(message, page, query, finding.level, title=title, advice=advice)


def _of_pause(pause: Pause) -> Problem:
    account_id, event = pause.account_id, pause.event
    mending = Mending(
        text("Resume"), "/workers/resume", "WorkerPoolService/ResumeDispatch", {"account": str(account_id)}
    )
    if not account_id:
        stopped = text("Everything is paused: no task is handed out.")
        return Problem(stopped, WORKERS, "#dispatch", Level.FAIL, event=event, mending=mending)
    paused = filled(text("Account {account} is paused."), account=account_id)
    return Problem(paused, ACCOUNTS, f"/{account_id}", event=event, mending=mending)


def _of_causes(examined: Examined) -> Iterator[Problem]:
    causes, cut = examined.causes or ((), False)
    for cause in causes:
        some = plural("{n} task of the last 3 days has failed.", "{n} tasks of the last 3 days have failed.")
        yield Problem(
            filled(some, n=counted(cause.n, cut)),
            TASKS,
            f"?{cause.query}",
            detail=cause.reason,
            mending=Mending(text("Retry…"), f"/tasks/move?{cause.retry}", "TaskService/BulkRetryTasks"),
        )


def _of_workers(pool: WorkerPool | None) -> Iterator[Problem]:
    for worker in pool["worker_statuses"] if pool else ():
        if worker["draining"] and worker["connected"]:
            yield Problem(
                filled(text("{worker} is drained: it takes no task."), worker=worker["worker_id"]),
                WORKERS,
                mending=Mending(
                    text("Undrain"),
                    "/workers/undrain",
                    "WorkerPoolService/UndrainWorker",
                    {"worker_id": worker["worker_id"]},
                ),
            )


def _of_publications(failed: Sequence[PublishPoolEntry], more: bool) -> Iterator[Problem]:
    if failed:
        failures = plural("{n} publication has failed.", "{n} publications have failed.")
        detail = f"{failed[0]['title'] or failed[0]['content_id']}: {failed[0]['error'] or ''}"
        yield Problem(filled(failures, n=counted(len(failed), more)), POOL, "?status=failed", detail=detail)


def _of_webhooks(examined: Examined) -> Iterator[Problem]:
    for webhook in examined.webhooks:
        fails = text("Webhook {webhook_id} fails.")
        if not webhook["active"]:
            fails = text("Webhook {webhook_id} has failed, and gets nothing any more.")
        webhook_id = webhook["webhook_id"]
        yield Problem(
            filled(fails, webhook_id=webhook_id), WEBHOOKS, f"/{webhook_id}", detail=webhook["last_error"] or ""
        )


def free_slots(pool: WorkerPool) -> int:
    """Counts those of workers that take tasks: while there are some, what waits waits for something else."""
    takers = [worker for worker in pool["worker_statuses"] if worker["running"] and not worker["unhealthy"]]
    return sum(max(worker["slots"] - worker["busy_slots"], 0) for worker in takers)
