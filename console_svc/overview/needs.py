"""What needs somebody: contents to review, failed publications, workers that are ill, pauses."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from typing import Literal

from console_svc.accounts.figures import Hold
from console_svc.web.language import plural
from console_svc.workers.state import Pause
from contentgen import Account, AuditEvent, Content, PublishPoolEntry, WorkerPool

LIMIT = 100
"""Where there are more, "100+" says enough."""
REVIEW, POOL, WORKERS, ACCOUNTS = "/review", "/pool", "/workers", "/accounts"


@dataclass(frozen=True, slots=True)
class Need:
    """One line. `text` is a text of the page, in which `values` are filled in; `detail` is shown as it is."""

    text: str
    page: str = ""
    """The page where it is done, as the navigation has it."""
    query: str = ""
    level: Literal["warn", "fail"] = "warn"
    values: Mapping[str, object] = field(default_factory=dict)
    detail: str = ""
    event: AuditEvent | None = None
    """The call that brought it about."""

    @property
    def path(self) -> str:
        return self.page + self.query if self.page else ""


def found(
    pool: WorkerPool | None,
    pauses: Sequence[Pause] | None,
    to_review: Sequence[Content] | None,
    failed: Sequence[PublishPoolEntry] | None,
    held_back: Sequence[tuple[Account, Hold]],
) -> Iterator[Need]:
    """Yields what needs somebody. An argument that the user may not ask for is None."""
    yield from _of_workers(pool)
    yield from _of_pauses(pauses or ())
    if pool and free_slots(pool):
        yield from _of_limits(held_back)
    if to_review:
        yield Need(
            plural("{n} content waits for its review.", "{n} contents wait for their review."),
            REVIEW,
            values={"n": count(to_review)},
        )
    if failed:
        detail = f"{failed[0]['title'] or failed[0]['content_id']}: {failed[0]['error'] or ''}"
        values = {"n": count(failed)}
        yield Need(
            plural("{n} publication has failed.", "{n} publications have failed."),
            POOL,
            "?status=failed",
            "fail",
            values=values,
            detail=detail,
        )


def _of_workers(pool: WorkerPool | None) -> Iterator[Need]:
    if pool is None:
        return
    if not pool["num_workers"]:
        yield Need("No worker is connected.", WORKERS, level="fail")
    for worker in pool["worker_statuses"]:
        if worker["unhealthy"]:
            values = {"worker": worker["worker_id"]}
            detail = worker["last_error"] or ""
            yield Need("The CLI of {worker} is broken.", WORKERS, level="fail", values=values, detail=detail)


def _of_pauses(pauses: Sequence[Pause]) -> Iterator[Need]:
    for pause in pauses:
        account_id, event = pause.account_id, pause.event
        if account_id:
            values = {"account": account_id}
            yield Need("Account {account} is paused.", ACCOUNTS, f"/{account_id}", values=values, event=event)
        else:
            yield Need("Everything is paused: no task is handed out.", WORKERS, "#dispatch", event=event)


def _of_limits(held_back: Sequence[tuple[Account, Hold]]) -> Iterator[Need]:
    for account, hold in held_back:
        values = {**hold.values, "account": account["account_id"]}
        yield Need(hold.text, ACCOUNTS, f"/{account['account_id']}", values=values, detail=account["name"])


def free_slots(pool: WorkerPool) -> int:
    """Of workers that take tasks: while there are some, what waits waits for something else."""
    takers = [worker for worker in pool["worker_statuses"] if worker["running"] and not worker["unhealthy"]]
    return sum(max(worker["slots"] - worker["busy_slots"], 0) for worker in takers)


def linked(needs: Iterator[Need], pages: Collection[str]) -> list[Need]:
    """Returns the needs without links to pages that the user does not have."""
    return [need if need.page in pages else replace(need, page="") for need in needs]


def count(things: Sized) -> str:
    return f"{LIMIT}+" if len(things) >= LIMIT else str(len(things))
