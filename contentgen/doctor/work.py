"""Whether tasks get done: the queue, dispatch, and what is stuck or stays failed. Layer: inside doctor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from contentgen.client.client import AsyncMethods
from contentgen.client.errors import RequestError
from contentgen.client.results import DispatchStatus, PublishPoolEntry, Task, TaskStats, WorkerPool
from contentgen.doctor.findings import Finding, fail, ok, warn
from contentgen.doctor.phrases import Phrase, joined
from contentgen.doctor.pool import some
from contentgen.doctor.readable import duration, line, seconds_since
from contentgen.doctor.reasons import paused, waits_for

NEARLY_FULL = 0.9
_SAMPLE = 5
_PAGE = 200
_DAY = 86_400.0


def queue(stats: TaskStats, limit: int) -> Iterator[Finding]:
    """How full it is; `limit` is what we believe the schedulers' CONTENTGEN_MAX_QUEUE_SIZE to be."""
    pending = stats["counts"].get("pending", 0)
    state = Phrase(
        "{pending} of {limit} pending, {due} due",
        pending=f"{pending:,}",
        limit=f"{limit:,}",
        due=f"{stats['queue_depth']:,}",
    )
    if oldest := duration(stats["oldest_pending_age"]):
        state = Phrase("{state}, the oldest for {age}", state=state, age=oldest)
    if pending >= limit > stats["queue_depth"]:
        advice = Phrase("what is scheduled for the day after tomorrow (UTC) or later does not count")
        yield warn("queue", Phrase("full, unless enough of it is scheduled: {state}", state=state), advice)
    elif pending >= limit:
        advice = Phrase("start workers, or raise CONTENTGEN_MAX_QUEUE_SIZE of the schedulers")
        yield fail("queue", Phrase("full: {state}", state=state), advice)
    elif pending >= NEARLY_FULL * limit:
        advice = Phrase("start workers before submits are refused")
        yield warn("queue", Phrase("nearly full: {state}", state=state), advice)
    else:
        yield ok("queue", state)


async def pauses(client: AsyncMethods) -> DispatchStatus:
    """Empty if the scheduler is of a version that can't tell."""
    try:
        return await client.get_dispatch_status()
    except RequestError as error:
        if error.code == "UNIMPLEMENTED":
            return {"all_paused": False, "paused_account_ids": []}
        raise


async def reasons(client: AsyncMethods) -> list[str]:
    """Why the newest pending tasks wait."""
    found: list[str] = []
    for listed in await client.list_tasks(status="pending", limit=_SAMPLE):
        task = await client.get_task_status(listed["task_id"])
        if task and task["pending_reason"]:  # else it was cleaned up meanwhile
            found.append(task["pending_reason"])
    return found


async def dispatch(client: AsyncMethods, patience: float) -> list[Finding]:
    """Pauses, and why else the newest pending tasks wait; for a slot they may wait for `patience` seconds."""
    status, counted = await pauses(client), Counter(await reasons(client))
    what, waiting = paused(status["all_paused"], status["paused_account_ids"]), counted.pop("paused", 0)
    found = [_paused(what, waiting)] if what or waiting else []
    if counted:
        found.append(await _waiting(client, counted, patience))
    elif not waiting:
        found.append(ok("dispatch", Phrase("no task waits")))
    return found


def _paused(what: Phrase | str, waiting: int) -> Finding:
    """A pause, which somebody may have forgotten; `what` is empty if the scheduler can't tell."""
    message = Phrase("paused: {what}", what=what) if what else Phrase("paused")
    if waiting:
        message = Phrase("{message}; the newest pending tasks wait for its end ({n})", message=message, n=waiting)
    advice = Phrase("`contentgen dispatch resume`, of the account or --all, hands tasks out again")
    return warn("dispatch", message, advice)


async def _waiting(client: AsyncMethods, counted: Counter[str], patience: float) -> Finding:
    texts = [Phrase("{what} ({n})", what=waits_for(reason), n=n) for reason, n in counted.most_common()]
    message = Phrase("the newest pending tasks wait for {what}", what=joined(texts))
    if "no_workers" in counted:
        return fail("dispatch", message, Phrase("start contentgen-worker"))
    if "all_slots_busy" in counted:
        age = (await client.get_task_stats())["oldest_pending_age"] or 0.0
        if age > patience:
            return _for_a_slot(await client.get_worker_pool_status(), message, age)
    return ok("dispatch", message)


def _for_a_slot(pool: WorkerPool, message: Phrase, age: float) -> Finding:
    workers = [it for it in pool["worker_statuses"] if it["running"] and not it["unhealthy"]]
    slots, busy = sum(it["slots"] for it in workers), sum(it["busy_slots"] for it in workers)
    waits = Phrase("{message}, the oldest for {age}", message=message, age=duration(age))
    if busy < slots:
        return warn(
            "dispatch",
            Phrase("{waits}, though {free} of {slots} slots are not busy", waits=waits, free=slots - busy, slots=slots),
            Phrase(
                "a worker offers no slot while its disk refuses or its results wait to be acknowledged: look at its log"
            ),
        )
    return warn(
        "dispatch",
        Phrase("the pool is starved, all {slots} slots are busy: {waits}", slots=slots, waits=waits),
        Phrase("start workers, or give those that are there more slots: CONTENTGEN_SLOTS, `contentgen worker resize`"),
    )


async def submitted(client: AsyncMethods, stuck_after: float, most: int = 10_000) -> Finding:
    """Tasks whose CLI has not started for `stuck_after` seconds after a worker got them; looks at `most`."""
    tasks = await client.list_tasks(status="submitted", limit=most)
    stuck = [it for it in tasks if it["submitted_at"] and seconds_since(it["submitted_at"]) > stuck_after]
    if not stuck:
        message = Phrase(
            "{n} on their way to a CLI, none for longer than {age}", n=f"{len(tasks):,}", age=duration(stuck_after)
        )
        return ok("submitted", message)
    return warn(
        "submitted",
        Phrase(
            "{n} not started for {age}: {tasks}",
            n=len(stuck),
            age=duration(stuck_after),
            tasks=some([f"{it['task_id']} on {it['worker_id']}" for it in stuck]),
        ),
        Phrase(
            "look at `contentgen task events ID` and the worker's log; `contentgen task cancel --force ID` ends one."
            " Tasks ahead of a slot (CONTENTGEN_QUEUE_SIZE) wait rightly"
        ),
    )


async def refused_options(client: AsyncMethods) -> list[Finding]:
    """Creator options that workers did not allow, of the newest tasks that failed within the last day."""
    tasks = await client.list_tasks(status="failed", limit=_PAGE)
    refused = [it for it in tasks if _has_refused_options(it)]
    if not refused:
        return []
    names = {name for it in refused for name in it["error_details"].get("options", "").split(", ")}
    return [
        warn(
            "options",
            Phrase(
                "creator options that workers do not allow failed {count} within a day, the newest being {task}:"
                " {options}",
                count=Phrase("1 task") if len(refused) == 1 else Phrase("{n} tasks", n=len(refused)),
                task=refused[0]["task_id"],
                options=some(sorted(names)),
            ),
            Phrase("submit without them, or name them in CREATOR_OPTIONS_ALLOWED of all workers"),
        )
    ]


def _has_refused_options(task: Task) -> bool:
    ended = task["completed_at"] or task["created_at"]
    return task["error_reason"] == "INVALID_CREATOR_OPTIONS" and seconds_since(ended) < _DAY


async def unpublished(client: AsyncMethods) -> list[Finding]:
    """Contents that could not be published, and that nobody tries again."""
    entries: list[PublishPoolEntry] = []
    async for entry in client.iter_publish_pool(statuses="failed", page_size=_PAGE):
        entries.append(entry)
        if len(entries) > _PAGE:
            break
    found = [entry for entry in entries if entry["status"] == "failed"]  # an older scheduler lists all
    return [_unpublished(found, more=len(entries) > _PAGE)] if found else []


def _unpublished(found: Sequence[PublishPoolEntry], *, more: bool) -> Finding:
    first = Phrase("content {content}", content=found[0]["content_id"])
    if found[0]["error"]:
        first = Phrase("{content}: {error}", content=first, error=line(found[0]["error"]))
    return warn(
        "publishing",
        Phrase(
            "{count} in the publish pool stay failed, the first being {first}",
            count=Phrase("{n} or more", n=_PAGE) if more else len(found),
            first=first,
        ),
        Phrase("`contentgen pool list --status failed` shows them, `contentgen pool retry` tries again"),
    )
