"""Whether tasks get done: versions, workers, their CLIs, the queue, and what is stuck. Layer: inside doctor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from importlib.metadata import version
from itertools import islice

from contentgen.cli import cells
from contentgen.cli.connection import Connection
from contentgen.cli.dispatching import paused_text, pauses
from contentgen.cli.doctor.findings import Finding, fail, ok, warn
from contentgen.cli.documents import Document, document
from contentgen.cli.options import PAGE_SIZE
from contentgen.client.documents import label
from contentgen.client.errors import ResourceNotFoundException
from contentgen.client.transport import run
from contentgen.client.worker_pool import whole_pool
from contentgen.v1 import content_service_pb2 as content_pb
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1 import worker_pool_service_pb2 as pool_pb

Workers = Sequence[pool_pb.Worker]

NEARLY_FULL = 0.9
_SAMPLE = 5
_MAX_SUBMITTED = 10_000
_DAY = 86_400.0
_NAMED = 3
"""Of many things, as many are named."""
_DISK_REFUSES = "the data folder can't be written"
"""So begins a worker's own word for it."""
_DISK_ADVICE = (
    "it takes no task: make space in its CONTENTGEN_DATA_DIR, and do not restart it before, since results may be in its"
    " memory only"
)
_SIZE_ADVICE = (
    "look for what limits the size of requests between it and the scheduler (nginx: client_max_body_size);"
    " it tries again by itself, 5 min apart at most, and at once when it is restarted"
)


def pool_of(connection: Connection) -> pool_pb.GetWorkerPoolResponse:
    return run(whole_pool(connection.transport))


def versions(workers: Workers, schedulers: Collection[str]) -> Iterator[Finding]:
    """This command's, the schedulers' and the workers'."""
    own = version("contentgen-grpc")
    others = {"schedulers": {*schedulers} - {own}, "workers": {it.version for it in workers if it.running} - {own, ""}}
    if any(others.values()):
        found = ", ".join(f"{who} are {', '.join(sorted(them))}" for who, them in others.items() if them)
        yield warn("version", f"this command is {own}, {found}", "bring all to one version, schedulers first")
        return
    same = [*(["the schedulers"] if schedulers else []), *(["the workers"] if workers else [])]
    unknown = "" if schedulers else "; the schedulers' versions are not known"
    compared = f"as are {' and '.join(same)}" if same else "and nothing is there to compare with"
    yield ok("version", f"this command is {own}, {compared}{unknown}")


def workers(found: pool_pb.GetWorkerPoolResponse) -> Iterator[Finding]:
    """Who is connected, and who is not any more."""
    running = [worker for worker in found.workers if worker.running]
    healthy = [worker for worker in running if not worker.unhealthy]
    if healthy:
        busy, slots = sum(it.busy_slots for it in healthy), sum(it.slots for it in healthy)
        others = f"; {len(running) - len(healthy)} more unhealthy" if len(healthy) < len(running) else ""
        yield ok("workers", f"{len(healthy)} take tasks, {busy} of {slots} slots are busy{others}")
    elif running:
        yield fail("workers", f"all {len(running)} are unhealthy: each tries one task at a time", "mend their CLIs")
    elif found.num_workers:
        yield fail(
            "workers", f"all {found.num_workers} are draining", "restart them, or start others: contentgen-worker"
        )
    else:
        yield fail(
            "workers", "none is connected", "start contentgen-worker, with CONTENTGEN_SCHEDULER set to this target"
        )
    for worker in running:
        if worker.last_error and not worker.unhealthy:
            yield warn(
                "workers",
                f"{cells.line(worker.worker_id)}: {cells.line(worker.last_error)}",
                _DISK_ADVICE if worker.last_error.startswith(_DISK_REFUSES) else _SIZE_ADVICE,
            )
    gone = [it.worker_id for it in found.workers if not (it.running or it.connected or it.draining)]
    if gone:
        yield warn("workers", f"{_some(gone)} not heard of any more", "where that is not meant, look at its log")


def clis(workers: Workers) -> Iterator[Finding]:
    """Whether the workers' CLIs run, and are the same."""
    running = [worker for worker in workers if worker.running]
    for worker in workers:
        if worker.unhealthy:
            yield _unhealthy(worker)
    said = {worker.creator_version or "without a version" for worker in running}
    if len(said) > 1:
        yield warn("cli", f"workers have different ones: {_some(sorted(said))}", "install the same one everywhere")
    elif said and not any(worker.unhealthy for worker in running):
        yield ok("cli", f"{cells.line(said.pop())} on {'all workers' if len(running) > 1 else 'the worker'}")


def _unhealthy(worker: pool_pb.Worker) -> Finding:
    since = cells.age(document(worker)["unhealthy_time"])
    message = f"that of {cells.line(worker.worker_id)} fails at once or is gone{f', for {since}' if since else ''}"
    return fail(
        "cli",
        f"{message}: {cells.line(worker.last_error) or 'no reason is given'}",
        f"look at CREATOR_CLI_PATH and what it needs on {cells.line(worker.hostname) or 'its host'}; the worker tries"
        " one task at a time, 5 min apart at most, and takes all again once one completes, or once it is restarted",
    )


def queue(connection: Connection, limit: int) -> Iterator[Finding]:
    """How full it is; `limit` is what we believe the schedulers' CONTENTGEN_MAX_QUEUE_SIZE to be."""
    stats = document(connection.call(connection.stubs.tasks.GetTaskStats, pb.GetTaskStatsRequest()))
    pending = stats["counts"].get("pending", 0)
    oldest = cells.duration(stats["oldest_pending_age"])
    waits = f", the oldest for {oldest}" if oldest else ""
    message = f"{pending:,} of {limit:,} pending, {stats['queue_depth']:,} due{waits}"
    if pending >= limit > stats["queue_depth"]:
        advice = "what is scheduled for the day after tomorrow (UTC) or later does not count"
        yield warn("queue", f"full, unless enough of it is scheduled: {message}", advice)
    elif pending >= limit:
        yield fail("queue", f"full: {message}", "start workers, or raise CONTENTGEN_MAX_QUEUE_SIZE of the schedulers")
    elif pending >= NEARLY_FULL * limit:
        yield warn("queue", f"nearly full: {message}", "start workers before submits are refused")
    else:
        yield ok("queue", message)


def dispatch(connection: Connection, patience: float) -> Iterator[Finding]:
    """Pauses, and why else the newest pending tasks wait; for a slot they may wait for `patience` seconds."""
    paused, reasons = paused_text(pauses(connection)), Counter(_reasons(connection))
    waiting = reasons.pop("paused", 0)
    if paused or waiting:
        yield _paused(paused, waiting)
    if reasons:
        yield _waiting(connection, reasons, patience)
    elif not waiting:
        yield ok("dispatch", "no task waits")


def _paused(what: str, waiting: int) -> Finding:
    """A pause, which somebody may have forgotten; `what` is empty if the scheduler can't tell."""
    message = f"paused: {what}" if what else "paused"
    if waiting:
        message += f"; the newest pending tasks wait for its end ({waiting})"
    return warn("dispatch", message, "`contentgen dispatch resume`, of the account or --all, hands tasks out again")


def _waiting(connection: Connection, reasons: Counter[str], patience: float) -> Finding:
    texts = (f"{cells.WAITS_FOR.get(reason, reason)} ({count})" for reason, count in reasons.most_common())
    message = f"the newest pending tasks wait for {', '.join(texts)}"
    if "no_workers" in reasons:
        return fail("dispatch", message, "start contentgen-worker")
    if "all_slots_busy" in reasons:
        return _for_a_slot(connection, message, patience)
    return ok("dispatch", message)


def _for_a_slot(connection: Connection, message: str, patience: float) -> Finding:
    age = (
        document(connection.call(connection.stubs.tasks.GetTaskStats, pb.GetTaskStatsRequest()))["oldest_pending_age"]
        or 0.0
    )
    if age <= patience:
        return ok("dispatch", message)
    workers = [it for it in pool_of(connection).workers if it.running and not it.unhealthy]
    slots, busy = sum(it.slots for it in workers), sum(it.busy_slots for it in workers)
    waits = f"{message}, the oldest for {cells.duration(age)}"
    if busy < slots:
        return warn(
            "dispatch",
            f"{waits}, though {slots - busy} of {slots} slots are not busy",
            "a worker offers no slot while its disk refuses or its results wait to be acknowledged: look at its log",
        )
    return warn(
        "dispatch",
        f"the pool is starved, all {slots} slots are busy: {waits}",
        "start workers, or give those that are there more slots: CONTENTGEN_SLOTS, `contentgen worker resize`",
    )


def _reasons(connection: Connection) -> Iterable[str]:
    request = pb.ListTasksRequest(statuses=[task_pb2.TASK_STATUS_PENDING], page_size=_SAMPLE)
    for listed in connection.call(connection.stubs.tasks.ListTasks, request).tasks:
        try:
            task = connection.call(connection.stubs.tasks.GetTask, pb.GetTaskRequest(task_id=listed.task_id)).task
        except ResourceNotFoundException:
            continue  # cleaned up meanwhile
        if task.pending_reason:
            yield label(task_pb2.PendingReason.DESCRIPTOR, task.pending_reason)


def submitted(connection: Connection, stuck_after: float) -> Iterator[Finding]:
    """Tasks whose CLI has not started for `stuck_after` seconds after a worker got them."""
    request = pb.ListTasksRequest(statuses=[task_pb2.TASK_STATUS_SUBMITTED], page_size=PAGE_SIZE)
    found = connection.items(connection.stubs.tasks.ListTasks, request, lambda page: page.tasks)
    tasks = [document(task) for task in found][:_MAX_SUBMITTED]
    stuck = [it for it in tasks if it["submit_time"] and cells.seconds_since(it["submit_time"]) > stuck_after]
    if stuck:
        named = _some([f"{it['task_id']} on {it['worker_id']}" for it in stuck])
        yield warn(
            "submitted",
            f"{len(stuck)} not started for {cells.duration(stuck_after)}: {named}",
            "look at `contentgen task events ID` and the worker's log; `contentgen task cancel --force ID` ends one."
            " Tasks ahead of a slot (CONTENTGEN_QUEUE_SIZE) wait rightly",
        )
    else:
        yield ok(
            "submitted", f"{len(tasks):,} on their way to a CLI, none for longer than {cells.duration(stuck_after)}"
        )


def refused_options(connection: Connection) -> Iterator[Finding]:
    """Creator options that workers did not allow, of the newest tasks that failed within the last day."""
    request = pb.ListTasksRequest(statuses=[task_pb2.TASK_STATUS_FAILED], page_size=PAGE_SIZE)
    tasks = map(document, connection.call(connection.stubs.tasks.ListTasks, request).tasks)
    refused = [it for it in tasks if _has_refused_options(it)]
    if refused:
        names = {name for it in refused for name in it["error"]["details"].get("options", "").split(", ")}
        yield warn(
            "options",
            f"creator options that workers do not allow failed {_count(refused)} within a day, the newest being"
            f" {refused[0]['task_id']}: {_some(sorted(names))}",
            "submit without them, or name them in CREATOR_OPTIONS_ALLOWED of all workers",
        )


def unpublished(connection: Connection) -> Iterator[Finding]:
    """Contents that could not be published, and that nobody tries again."""
    failed = content_pb.PUBLISH_STATUS_FAILED
    request = content_pb.ListPublishPoolRequest(statuses=[failed], page_size=PAGE_SIZE)
    page = connection.call(connection.stubs.contents.ListPublishPool, request)
    found = [entry for entry in page.entries if entry.status == failed]  # an older scheduler lists all
    if found:
        count = f"{len(found)}{' or more' if page.next_page_token else ''}"
        first = f"content {found[0].content_id}" + (f": {cells.line(found[0].error)}" if found[0].error else "")
        yield warn(
            "publishing",
            f"{count} in the publish pool stay failed, the first being {first}",
            "`contentgen pool list --status failed` shows them, `contentgen pool retry` tries again",
        )


def _has_refused_options(task: Document) -> bool:
    reason = task["error"] and task["error"]["reason"]
    return reason == "INVALID_CREATOR_OPTIONS" and cells.seconds_since(task["end_time"] or task["create_time"]) < _DAY


def _count(tasks: Sequence[Document]) -> str:
    return "1 task" if len(tasks) == 1 else f"{len(tasks)} tasks"


def _some(names: Sequence[str]) -> str:
    """The first few of them, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(cells.line(name) for name in islice(names, _NAMED)) + (f" and {more} more" if more > 0 else "")
