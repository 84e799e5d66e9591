"""Whether tasks get done: the queue, dispatch, and what is stuck or stays failed. Layer: inside doctor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from contentgen.client.client import AsyncMethods
from contentgen.client.errors import RequestError
from contentgen.client.results import DispatchStatus, PublishPoolEntry, System, Task, TaskStats, WorkerPool
from contentgen.doctor.findings import Finding, Phrase, fail, joined, ok, paused, waits_for, warn
from contentgen.doctor.pool import some
from contentgen.doctor.readable import duration, line, seconds_since

NEARLY_FULL = 0.9
_QUEUE_LIMIT = 1_000_000
_SAMPLE = 5
_PAGE = 200
_DAY = 86_400.0


async def queue(client: AsyncMethods, system: System | None, limit: int | None = None) -> list[Finding]:
    """Reports how full the queue is. Without a `limit` it is the schedulers' own, which an older one does not tell."""
    limit = limit or (system["limits"]["max_queue_size"] if system else 0) or _QUEUE_LIMIT
    return [_filled(await client.get_task_stats(), limit)]


def _filled(stats: TaskStats, limit: int) -> Finding:
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
        return warn("queue", Phrase("full, unless enough of it is scheduled: {state}", state=state), advice)
    if pending >= limit:
        advice = Phrase("start workers, or raise CONTENTGEN_MAX_QUEUE_SIZE of the schedulers")
        return fail("queue", Phrase("full: {state}", state=state), advice)
    if pending >= NEARLY_FULL * limit:
        advice = Phrase("start workers before submits are refused")
        return warn("queue", Phrase("nearly full: {state}", state=state), advice)
    return ok("queue", state)


async def pauses(client: AsyncMethods) -> DispatchStatus:
    """Returns what is paused. Returns that nothing is if the scheduler is of a version that can't tell."""
    try:
        return await client.get_dispatch_status()
    except RequestError as error:
        if error.code == "UNIMPLEMENTED":
            return {"all_paused": False, "paused_account_ids": [], "maintenance": None}
        raise


async def reasons(client: AsyncMethods) -> list[str]:
    """Returns why the newest pending tasks wait."""
    causes: list[str] = []
    for entry in await client.list_tasks(status="pending", limit=_SAMPLE):
        task = await client.get_task_status(entry["task_id"])
        if task and task["pending_reason"]:  # else it was cleaned up meanwhile
            causes.append(task["pending_reason"])
    return causes


async def dispatch(client: AsyncMethods, patience: float) -> list[Finding]:
    """Reports pauses, and why else the newest pending tasks wait; for a slot they may wait for `patience` seconds."""
    status, counts = await pauses(client), Counter(await reasons(client))
    scope, waiting = paused(status["all_paused"], status["paused_account_ids"]), counts.pop("paused", 0)
    findings = [_paused(scope, waiting)] if scope or waiting else []
    if counts:
        findings.append(await _waiting(client, counts, patience))
    elif not waiting:
        findings.append(ok("dispatch", Phrase("no task waits")))
    return findings


async def starved(client: AsyncMethods, patience: float) -> list[Finding]:
    """Reports why the newest pending tasks wait, but for pauses; for a slot they may wait for `patience` seconds."""
    counts = Counter(await reasons(client))
    counts.pop("paused", 0)
    return [await _waiting(client, counts, patience)] if counts else []


def _paused(scope: Phrase | str, waiting: int) -> Finding:
    """Reports a pause, which somebody may have forgotten; `scope` is empty if the scheduler can't tell."""
    message = Phrase("paused: {what}", what=scope) if scope else Phrase("paused")
    if waiting:
        message = Phrase("{message}; the newest pending tasks wait for its end ({n})", message=message, n=waiting)
    advice = Phrase("`contentgen dispatch resume`, of the account or --all, hands tasks out again")
    return warn("dispatch", message, advice)


async def _waiting(client: AsyncMethods, counts: Counter[str], patience: float) -> Finding:
    texts = [Phrase("{what} ({n})", what=waits_for(reason), n=n) for reason, n in counts.most_common()]
    message = Phrase("the newest pending tasks wait for {what}", what=joined(texts))
    if "no_workers" in counts:
        return fail("dispatch", message, Phrase("start contentgen-worker"))
    if "no_matching_worker" in counts:
        advice = Phrase(
            "start contentgen-worker with these labels (CONTENTGEN_LABELS): `contentgen task status ID` tells"
        )
        return warn("dispatch", message, advice)
    if "all_slots_busy" in counts:
        age = (await client.get_task_stats())["oldest_pending_age"] or 0.0
        if age > patience:
            return _for_a_slot(await client.get_worker_pool_status(), message, age)
    return ok("dispatch", message)


def _for_a_slot(pool: WorkerPool, message: Phrase, age: float) -> Finding:
    workers = [worker for worker in pool["worker_statuses"] if worker["running"] and not worker["unhealthy"]]
    slots, busy = sum(worker["slots"] for worker in workers), sum(worker["busy_slots"] for worker in workers)
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


async def submitted(client: AsyncMethods, stuck_after: float, most: int = 10_000) -> list[Finding]:
    """Reports tasks whose CLI has not started `stuck_after` seconds after a worker got them; looks at `most` tasks."""
    tasks = await client.list_tasks(status="submitted", limit=most)
    stuck = [task for task in tasks if task["submitted_at"] and seconds_since(task["submitted_at"]) > stuck_after]
    if not stuck:
        message = Phrase(
            "{n} on their way to a CLI, none for longer than {age}", n=f"{len(tasks):,}", age=duration(stuck_after)
        )
        return [ok("submitted", message)]
    finding = warn(
        "submitted",
        Phrase(
            "{n} not started for {age}: {tasks}",
            n=len(stuck),
            age=duration(stuck_after),
            tasks=some([f"{task['task_id']} on {task['worker_id']}" for task in stuck]),
        ),
        Phrase(
            "look at `contentgen task events ID` and the worker's log; `contentgen task cancel --force ID` ends one."
            " Tasks ahead of a slot (CONTENTGEN_QUEUE_SIZE) wait rightly"
        ),
    )
    return [finding]


async def refused_options(client: AsyncMethods) -> list[Finding]:
    """Reports creator options that workers did not allow, of the newest tasks that failed within the last day."""
    tasks = await client.list_tasks(status="failed", limit=_PAGE)
    refused_tasks = [task for task in tasks if _has_refused_options(task)]
    if not refused_tasks:
        return []
    names = {name for task in refused_tasks for name in task["error_details"].get("options", "").split(", ")}
    return [
        warn(
            "options",
            Phrase(
                "creator options that workers do not allow failed {count} within a day, the newest being {task}:"
                " {options}",
                count=Phrase("1 task") if len(refused_tasks) == 1 else Phrase("{n} tasks", n=len(refused_tasks)),
                task=refused_tasks[0]["task_id"],
                options=some(sorted(names)),
            ),
            Phrase("submit without them, or name them in CREATOR_OPTIONS_ALLOWED of all workers"),
        )
    ]


def _has_refused_options(task: Task) -> bool:
    end = task["completed_at"] or task["created_at"]
    return task["error_reason"] == "INVALID_CREATOR_OPTIONS" and seconds_since(end) < _DAY


async def unpublished(client: AsyncMethods) -> list[Finding]:
    """Reports contents that could not be published, and that nobody tries again."""
    entries: list[PublishPoolEntry] = []
    async for entry in client.iter_publish_pool(statuses="failed", page_size=_PAGE):
        entries.append(entry)
        if len(entries) > _PAGE:
            break
    failures = [entry for entry in entries if entry["status"] == "failed"]  # an older scheduler lists all
    return [_unpublished(failures, more=len(entries) > _PAGE)] if failures else []


def _unpublished(failures: Sequence[PublishPoolEntry], *, more: bool) -> Finding:
    first = Phrase("content {content}", content=failures[0]["content_id"])
    if failures[0]["error"]:
        first = Phrase("{content}: {error}", content=first, error=line(failures[0]["error"]))
    return warn(
        "publishing",
        Phrase(
            "{count} in the publish pool stay failed, the first being {first}",
            count=Phrase("{n} or more", n=_PAGE) if more else len(failures),
            first=first,
        ),
        Phrase("`contentgen pool list --status failed` shows them, `contentgen pool retry` tries again"),
    )
