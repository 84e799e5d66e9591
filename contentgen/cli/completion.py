"""Values that the shell completes: ids, states, contexts.

Layer: inside cli. A scheduler that does not answer at once completes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TypeVar

import typer
from google.protobuf.descriptor import EnumDescriptor

from contentgen.cli import contexts
from contentgen.cli.cells import line
from contentgen.cli.connection import Connection, target_of
from contentgen.client.client import MessageMethods
from contentgen.client.documents import PUBLISH_STATUS, TASK_STATUS, label
from contentgen.client.errors import RequestError
from contentgen.client.target import Target
from contentgen.client.transport import Pages, run

T = TypeVar("T")

Completion = Callable[[typer.Context, str], list[tuple[str, str]]]
"""Returns values, each with its help."""

_LIMIT = 1.0
"""Seconds for the scheduler's answer: somebody waits with a finger on the Tab key."""
_MAX_ITEMS = 100


def _completes(read: Callable[[MessageMethods], Iterable[T]], candidate: Callable[[T], tuple[str, str]]) -> Completion:
    """Completes what `read` returns, as the value and the help that `candidate` makes of each."""

    def complete(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
        with suppress(RequestError, typer.BadParameter), Connection(_target(context), _LIMIT) as connection:
            candidates = map(candidate, read(connection.client))
            return [(value, help_) for value, help_ in candidates if value.startswith(incomplete)]
        return []

    return complete


def _first(pages: Pages[T]) -> Sequence[T]:
    return run(pages.next(_MAX_ITEMS)) or ()


task_ids = _completes(
    lambda client: _first(client.iter_tasks()),
    lambda task: (task.task_id, f"{label(TASK_STATUS, task.status)}: {line(task.topic)}"),
)
content_ids = _completes(
    lambda client: _first(client.iter_contents()), lambda content: (str(content.content_id), line(content.title))
)
worker_ids = _completes(
    lambda client: client.get_worker_pool_status().workers[:_MAX_ITEMS],
    lambda worker: (worker.worker_id, line(worker.hostname)),
)
account_ids = _completes(
    lambda client: _first(client.iter_accounts()), lambda account: (str(account.account_id), line(account.name))
)
channel_ids = _completes(
    lambda client: _first(client.iter_channels()),
    lambda channel: (str(channel.channel_id), line(channel.description or channel.destination)),
)
token_names = _completes(lambda client: _first(client.iter_tokens()), lambda token: (line(token.name), token.role))
webhook_ids = _completes(
    lambda client: _first(client.iter_webhooks()), lambda webhook: (str(webhook.webhook_id), line(webhook.url))
)
schedule_ids = _completes(
    lambda client: _first(client.iter_schedules()),
    lambda schedule: (str(schedule.schedule_id), line(schedule.name or schedule.template.topic)),
)


def _target(context: typer.Context) -> Target:
    """Returns the scheduler that the words before name; what stands behind the command's name wins."""
    parameters = {**context.find_root().params}
    if scheduler := context.params.get("scheduler"):
        parameters["scheduler"] = scheduler
    flags = {variable: parameters.get(key) for key, variable in contexts.SETTINGS.items() if key != "account"}
    return target_of(flags, contexts.variables(parameters.get("context_name"), flags))


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
