"""Values that the shell completes: ids, states, contexts.

Layer: inside cli. A scheduler that does not answer at once completes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import typer
from google.protobuf.descriptor import EnumDescriptor

from contentgen.cli import contexts
from contentgen.cli.cells import line
from contentgen.cli.connection import Connection, Target
from contentgen.client.documents import PUBLISH_STATUS, TASK_STATUS, label
from contentgen.client.errors import RequestError
from contentgen.v1 import account_service_pb2 as account_pb
from contentgen.v1 import content_service_pb2 as content_pb
from contentgen.v1 import schedule_service_pb2 as schedule_pb
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1 import webhook_service_pb2 as webhook_pb
from contentgen.v1 import worker_pool_service_pb2 as pool_pb

Found = Iterator[tuple[str, str]]
"""Values, each with its help."""

_LIMIT = 1.0
"""Seconds for the scheduler's answer: somebody waits with a finger on the Tab key."""
_MAX_ITEMS = 100


def task_ids(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The newest tasks."""
    return _fetched(context, incomplete, _tasks)


def content_ids(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The newest contents."""
    return _fetched(context, incomplete, _contents)


def worker_ids(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The workers of the last hour."""
    return _fetched(context, incomplete, _workers)


def account_ids(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The first accounts."""
    return _fetched(context, incomplete, _accounts)


def webhook_ids(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The first webhooks."""
    return _fetched(context, incomplete, _webhooks)


def schedule_ids(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The first schedules."""
    return _fetched(context, incomplete, _schedules)


def context_names(incomplete: str) -> list[str]:
    """The contexts of this user."""
    with suppress(typer.BadParameter):
        return [name for name in sorted(contexts.load().by_name) if name.startswith(incomplete)]
    return []


def task_states(incomplete: str) -> list[str]:
    """The states of a task, the last one of several by comma."""
    return _states(TASK_STATUS, incomplete)


def publish_states(incomplete: str) -> list[str]:
    """The states of an entry of the publish pool, the last one of several by comma."""
    return _states(PUBLISH_STATUS, incomplete)


def _states(enum: EnumDescriptor, incomplete: str) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in _names(enum) if name.startswith(last)]


def _names(enum: EnumDescriptor) -> Iterable[str]:
    return (label(enum, value.number) for value in enum.values if value.number)


def _fetched(context: typer.Context, incomplete: str, fetch: Callable[[Connection], Found]) -> list[tuple[str, str]]:
    with suppress(RequestError, typer.BadParameter), Connection(_target(context), _LIMIT) as connection:
        return [found for found in fetch(connection) if found[0].startswith(incomplete)]
    return []


def _target(context: typer.Context) -> Target:
    """The scheduler that the words before name; what stands behind the command's name wins."""
    given = {**context.find_root().params, **{k: v for k, v in context.params.items() if k == "scheduler" and v}}
    flags = {variable: given.get(key) for key, variable in contexts.SETTINGS.items() if key != "account"}
    named = flags["CONTENTGEN_SCHEDULER"] or os.environ.get("CONTENTGEN_SCHEDULER")
    return Target.of(flags, contexts.variables(given.get("context_name"), scheduler_given=bool(named)))


def _tasks(connection: Connection) -> Found:
    for task in connection.call(connection.stubs.tasks.ListTasks, task_pb.ListTasksRequest(page_size=_MAX_ITEMS)).tasks:
        yield task.task_id, f"{label(TASK_STATUS, task.status)}: {line(task.topic)}"


def _contents(connection: Connection) -> Found:
    for content in connection.call(
        connection.stubs.contents.ListContents, content_pb.ListContentsRequest(page_size=_MAX_ITEMS)
    ).contents:
        yield str(content.content_id), line(content.title)


def _workers(connection: Connection) -> Found:
    for worker in connection.call(
        connection.stubs.pool.GetWorkerPool, pool_pb.GetWorkerPoolRequest(page_size=_MAX_ITEMS)
    ).workers:
        yield worker.worker_id, line(worker.hostname)


def _accounts(connection: Connection) -> Found:
    for account in connection.call(
        connection.stubs.accounts.ListAccounts, account_pb.ListAccountsRequest(page_size=_MAX_ITEMS)
    ).accounts:
        yield str(account.account_id), line(account.name)


def _schedules(connection: Connection) -> Found:
    for schedule in connection.call(
        connection.stubs.schedules.ListSchedules, schedule_pb.ListSchedulesRequest(page_size=_MAX_ITEMS)
    ).schedules:
        yield str(schedule.schedule_id), line(schedule.name or schedule.template.topic)


def _webhooks(connection: Connection) -> Found:
    for webhook in connection.call(
        connection.stubs.webhooks.ListWebhooks, webhook_pb.ListWebhooksRequest(page_size=_MAX_ITEMS)
    ).webhooks:
        yield str(webhook.webhook_id), line(webhook.url)
