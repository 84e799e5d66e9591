"""The conditions on tasks, as options of each command that lists or moves many of them. Layer: commands."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, NamedTuple

from contentgen.cli import completion, values
from contentgen.cli.command import Session
from contentgen.cli.options import OnlyAccount, Statuses, stands_for
from contentgen.cli.values import option
from contentgen.client.documents import TASK_STATUS

Labels = Annotated[
    list[str] | None, option("Only with this label; several times.", "--label", "-l", metavar="KEY=VALUE")
]
OfSchedule = Annotated[
    int | None,
    option("Only those that this schedule submitted.", metavar="ID", min=1, autocompletion=completion.schedule_ids),
]
Reasons = Annotated[
    list[str] | None,
    option("Only with an error of this reason, such as CREATOR_ERROR; several times.", metavar="REASON"),
]
Since = Annotated[str | None, option("Only created then or later; local without a zone.", metavar="TIME")]
Until = Annotated[str | None, option("Only created earlier than that.", metavar="TIME")]
OfWorker = Annotated[
    str,
    option("Only those that this worker runs, or ran last.", metavar="WORKER_ID", autocompletion=completion.worker_ids),
]
Topic = Annotated[str, option("Only with this text in the topic, in any case.", metavar="TEXT")]


class Selection(NamedTuple):
    """Which tasks a command is about."""

    filter: dict[str, Any]
    """What the client takes of it, by name."""
    given: bool
    """Whether any option of the filter was given."""


def _conditions(
    session: Session,
    account: OnlyAccount = None,
    status: Statuses = None,
    label: Labels = None,
    schedule: OfSchedule = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    worker: OfWorker = "",
    topic: Topic = "",
) -> dict[str, Any]:
    return {
        "account_id": session.accounts(account),
        "status": values.states(TASK_STATUS, status or ()),
        "labels": values.pairs(label),
        "schedule_id": schedule,
        "error_reasons": reason or (),
        "created_after": values.moment(since),
        "created_before": values.moment(until),
        "worker_id": worker,
        "topic": topic,
    }


def _selection(session: Session, options: dict[str, Any]) -> Selection:
    return Selection(_conditions(session, **options), any(value not in (None, "", []) for value in options.values()))


_, *_OPTIONS = inspect.signature(_conditions, eval_str=True).parameters.values()
selects = stands_for("selection", [option.replace(kind=option.KEYWORD_ONLY) for option in _OPTIONS], _selection)
"""The parameter `selection` of a command, its last, becomes the options of the filter."""
