"""Reads of a database with years of ended tasks: calls one after the other, and the console's pages."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

from contentgen import AsyncContentGenerationClient
from contentgen.v1 import audit_service_pb2 as audit
from contentgen.v1 import content_service_pb2 as contents
from contentgen.v1 import task_pb2 as task
from contentgen.v1 import task_service_pb2 as tasks
from contentgen.v1 import webhook_service_pb2 as webhooks
from contentgen.v1.audit_service_pb2_grpc import AuditServiceStub
from contentgen.v1.content_service_pb2_grpc import ContentServiceStub
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from contentgen.v1.webhook_service_pb2_grpc import WebhookServiceStub
from lab.benchmarks import console
from lab.benchmarks.scale.case import Case, Keep, Row, Size, Sizes, Value
from lab.benchmarks.scale.filled import FILL, filled, years
from lab.benchmarks.scale.steady import percentile
from lab.benchmarks.stack import Stack

EACH = "reads: each, milliseconds"
CALLS = "reads: calls, milliseconds"
PAGES = "reads: pages of the console, milliseconds to the first byte"

Call = Callable[[], Awaitable[object]]


async def measure(folder: Path, sizes: Sizes, keep: Keep) -> None:
    """Keeps a row for each call and page and number of tasks, and at the end one with all numbers of tasks."""
    values_by_read: defaultdict[tuple[str, str], dict[str, Value]] = defaultdict(dict)
    for count in sizes.all("tasks"):
        async with filled(folder, years(sizes, count)) as stack:
            async for title, read, p50, p95 in _reads(stack, sizes.one("samples")):
                keep(Row(EACH, {"read": read, "tasks": count, "p50": p50, "p95": p95}))
                values_by_read[title, read] |= {f"{count:,} tasks, p50": p50, f"p95 of {count:,}": p95}
    for (title, read), values in values_by_read.items():
        keep(Row(title, {"read": read, **values}))


async def _reads(stack: Stack, samples: int) -> AsyncIterator[tuple[str, str, float, float]]:
    """Yields of each read the table that it belongs to, its name, its p50 and its p95."""
    async with _waiting(stack), aio.insecure_channel(stack.target) as channel:
        for name, call in (await _calls(channel, stack.accounts[0], stack.accounts[-1])).items():
            times = await _timed(call, samples)
            yield CALLS, name, percentile(times, 50), percentile(times, 95)
        for path, times in (await console.pages(stack, samples)).items():
            yield PAGES, path, percentile(times, 50), percentile(times, 95)


@asynccontextmanager
async def _waiting(stack: Stack) -> AsyncIterator[None]:
    """Yields some tasks that wait: no worker comes. They are cancelled at the end."""
    async with AsyncContentGenerationClient(stack.target) as client:
        await client.submit_tasks([{"account_id": stack.accounts[0], "topic": "it waits"}] * 1_000)
        yield
        await client.bulk_cancel_tasks()


async def _timed(call: Call, samples: int) -> list[float]:
    """Returns the milliseconds, the shortest first; the first call does not count."""
    times = []
    await call()
    for _ in range(samples):
        begin = time.perf_counter()
        await call()
        times.append((time.perf_counter() - begin) * 1e3)
    return sorted(times)


def _rpcs(channel: aio.Channel) -> Callable[..., Callable[[], Awaitable[Any]]]:
    """Returns what makes calls of the services, by the name of a method and its fields."""
    modules = {
        TaskServiceStub: tasks,
        ContentServiceStub: contents,
        AuditServiceStub: audit,
        WebhookServiceStub: webhooks,
    }
    services: list[tuple[Any, Any]] = [(stub(channel), module) for stub, module in modules.items()]

    def call(name: str, **fields: Any) -> Callable[[], Awaitable[Any]]:
        stub, module = next((stub, module) for stub, module in services if hasattr(stub, name))
        method, request = getattr(stub, name), getattr(module, f"{name}Request")(**fields)
        return partial(_first_message, method, request) if name == "WatchTasks" else partial(method, request)

    return call


async def _first_message(method: Any, request: Any) -> None:
    stream = method(request)
    await stream.read()
    stream.cancel()


async def _calls(channel: aio.Channel, common: int, rare: int) -> dict[str, Call]:
    call = _rpcs(channel)
    task_id = (await call("ListTasks", statuses=[task.TASK_STATUS_COMPLETED])()).tasks[-1].task_id
    (hook, *_) = (await call("ListWebhooks")()).webhooks
    deep = ""
    for _ in range(50):
        deep = (await call("ListTasks", page_size=1_000, page_token=deep)()).next_page_token
    return {
        f"{name}, {variant}" if variant else name: call(name, **fields)
        for name, variants in _variants(common, rare, task_id, deep, hook.webhook_id).items()
        for variant, fields in variants.items()
    }


def _variants(common: int, rare: int, task_id: str, deep: str, webhook_id: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns the fields of each call, by method and by what the fields are for."""
    account, few = {"account_id": common}, {"account_id": rare}
    timeout, completed = task.TASK_STATUS_TIMEOUT, task.TASK_STATUS_COMPLETED
    webhook = {"webhook_id": webhook_id}
    return {
        "GetTask": {"": {"task_id": task_id}},
        "ListTaskEvents": {"": {"task_id": task_id}},
        "GetTaskStats": {"all accounts": {}, "an account": account, "an account with few tasks": few},
        "GetTaskHistory": {
            "24 hours": {},
            "365 days": {"resolution": tasks.RESOLUTION_DAY, "start_time": _ago(days=365)},
        },
        "ListTasks": {
            "first page": {},
            "1,000 a page": {"page_size": 1_000},
            "created before half of the time": {"filter": tasks.TaskFilter(created_before=_ago(days=20))},
            "an account": account,
            "an account with few tasks": few,
            "completed (96%)": {"statuses": [completed]},
            "timed out (1 of 1,000)": {"statuses": [timeout]},
            "timed out, an account with few tasks": {"statuses": [timeout], **few},
            "a label (10%)": {"labels": {"team": "a"}},
            "a label that none has": {"labels": {"team": "z"}},
            "a label and timed out": {"labels": {"team": "a"}, "statuses": [timeout]},
            "an error that none has": {"filter": tasks.TaskFilter(error_reasons=["NO_SUCH_REASON"])},
            "a topic that none has": {"filter": tasks.TaskFilter(topic="no such topic")},
            "a worker (5%)": {"filter": tasks.TaskFilter(worker_id="worker-3")},
            "50,000 tasks deep": {"page_token": deep},
        },
        "WatchTasks": {"the first message": {}},
        "ListContents": {
            "first page": {},
            "oldest first": {"oldest_first": True},
            "an account with few tasks": few,
            "to be reviewed (1 of 1,000)": {"review_status": contents.REVIEW_STATUS_PENDING_REVIEW},
            "published (all)": {"publish_status": contents.PUBLISH_STATUS_PUBLISHED},
            "publishing failed (none)": {"publish_status": contents.PUBLISH_STATUS_FAILED},
            "a category that none has": {"category": "none"},
            "a label (10%)": {"labels": {"team": "a"}},
        },
        "ListPublishPool": {"an account": account},
        "ListAuditEvents": {
            "first page": {},
            "an account": account,
            "a method (2.5%)": {"method": "TaskService/CancelTask"},
            "a caller that never called": {"actor": "nobody"},
            "submits (95%)": {"method": "TaskService/SubmitTask"},
        },
        "ListDeliveries": {
            "all": webhook,
            "delivered (all)": {**webhook, "status": webhooks.DELIVERY_STATUS_DELIVERED},
            "exhausted (none)": {**webhook, "status": webhooks.DELIVERY_STATUS_EXHAUSTED},
        },
    }


def _ago(**duration: float) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(datetime.now(UTC) - timedelta(**duration))
    return timestamp


CASE = Case(
    "reads",
    "Lists, figures, watches and the console's pages beside many ended tasks.",
    "4 minutes, and the fills",
    measure,
    FILL
    | {
        "tasks": Size((10_000_000, 1_000_000), (3_000,), "ended tasks, by comma"),
        "samples": Size((100,), (2,), "calls of each kind, and requests of each page"),
    },
    every={EACH: 0},
)
