"""Values that the shell completes: ids, states, contexts.

Layer: inside cli. A scheduler that does not answer at once completes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TypeVar

import typer
from google.protobuf.descriptor import EnumDescriptor

from contentgen.cli import contexts
from contentgen.cli.cells import line
from contentgen.cli.connection import Connection, Target
from contentgen.client.documents import PUBLISH_STATUS, TASK_STATUS, label
from contentgen.client.errors import RequestError
from contentgen.client.transport import Pages, run

T = TypeVar("T")

Found = Iterator[tuple[str, str]]
"""Values, each with its help."""
Completion = Callable[[typer.Context, str], list[tuple[str, str]]]

_LIMIT = 1.0
"""Seconds for the scheduler's answer: somebody waits with a finger on the Tab key."""
_MAX_ITEMS = 100


def _fetched(fetch: Callable[[Connection], Found]) -> Completion:
    """Completes what `fetch` reads of the scheduler."""

    def complete(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
        with suppress(RequestError, typer.BadParameter), Connection(_target(context), _LIMIT) as connection:
            return [candidate for candidate in fetch(connection) if candidate[0].startswith(incomplete)]
        return []

    return complete


@_fetched
def task_ids(connection: Connection) -> Found:
    for task in _first(connection.client.iter_tasks()):
        yield task.task_id, f"{label(TASK_STATUS, task.status)}: {line(task.topic)}"


@_fetched
def content_ids(connection: Connection) -> Found:
    for content in _first(connection.client.iter_contents()):
        yield str(content.content_id), line(content.title)


@_fetched
def worker_ids(connection: Connection) -> Found:
    for worker in connection.client.get_worker_pool_status().workers[:_MAX_ITEMS]:
        yield worker.worker_id, line(worker.hostname)


@_fetched
def account_ids(connection: Connection) -> Found:
    for account in _first(connection.client.iter_accounts()):
        yield str(account.account_id), line(account.name)


@_fetched
def webhook_ids(connection: Connection) -> Found:
    for webhook in _first(connection.client.iter_webhooks()):
        yield str(webhook.webhook_id), line(webhook.url)


@_fetched
def schedule_ids(connection: Connection) -> Found:
    for schedule in _first(connection.client.iter_schedules()):
        yield str(schedule.schedule_id), line(schedule.name or schedule.template.topic)


def _first(pages: Pages[T]) -> Sequence[T]:
    return run(pages.next(_MAX_ITEMS)) or ()


def _target(context: typer.Context) -> Target:
    """Returns the scheduler that the words before name; what stands behind the command's name wins."""
    parameters = {**context.find_root().params}
    if scheduler := context.params.get("scheduler"):
        parameters["scheduler"] = scheduler
    flags = {variable: parameters.get(key) for key, variable in contexts.SETTINGS.items() if key != "account"}
    return Target.of(flags, contexts.variables(parameters.get("context_name"), flags))


def context_names(incomplete: str) -> list[str]:
    with suppress(typer.BadParameter):
        return [name for name in sorted(contexts.load().by_name) if name.startswith(incomplete)]
    return []


def task_states(incomplete: str) -> list[str]:
    """Completes the states of a task; of several by comma it completes the last one."""
    return _states(TASK_STATUS, incomplete)


def publish_states(incomplete: str) -> list[str]:
    """Completes the states of an entry of the publish pool, as `task_states` does."""
    return _states(PUBLISH_STATUS, incomplete)


def _states(enum: EnumDescriptor, incomplete: str) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    names = (label(enum, value.number) for value in enum.values if value.number)
    return [f"{before}{comma}{name}" for name in names if name.startswith(last)]
