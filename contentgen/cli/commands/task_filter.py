"""The conditions on tasks, as options of each command that lists or moves many of them. Layer: commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from contentgen.cli import completion, values
from contentgen.cli.command import Session
from contentgen.cli.options import OnlyAccount, Statuses, stands_for
from contentgen.cli.values import option
from contentgen.client.documents import TASK_STATUS


class Selection(NamedTuple):
    """Which tasks a command is about."""

    filter: dict[str, Any]
    """What the client takes of it, by name."""
    given: bool
    """Whether any option of the filter was given."""


_OPTIONS = {
    "account": OnlyAccount,
    "status": Statuses,
    "label": Annotated[
        list[str] | None, option("Only with this label; several times.", "--label", "-l", metavar="KEY=VALUE")
    ],
    "schedule": Annotated[
        int | None,
        option("Only those that this schedule submitted.", metavar="ID", min=1, autocompletion=completion.schedule_ids),
    ],
    "reason": Annotated[
        list[str] | None,
        option("Only with an error of this reason, such as CREATOR_ERROR; several times.", metavar="REASON"),
    ],
    "since": Annotated[str | None, option("Only created then or later; local without a zone.", metavar="TIME")],
    "until": Annotated[str | None, option("Only created earlier than that.", metavar="TIME")],
    "worker": Annotated[
        str | None,
        option(
            "Only those that this worker runs, or ran last.", metavar="WORKER_ID", autocompletion=completion.worker_ids
        ),
    ],
    "topic": Annotated[str | None, option("Only with this text in the topic, in any case.", metavar="TEXT")],
}


def _selection(session: Session, options: Mapping[str, Any]) -> Selection:
    conditions = {
        "account_id": session.accounts(options["account"]),
        "status": values.states(TASK_STATUS, options["status"] or ()),
        "labels": values.pairs(options["label"]),
        "schedule_id": options["schedule"],
        "error_reasons": options["reason"] or (),
        "created_after": values.moment(options["since"]),
        "created_before": values.moment(options["until"]),
        "worker_id": options["worker"] or "",
        "topic": options["topic"] or "",
    }
    return Selection(conditions, any(value not in (None, "", []) for value in options.values()))


selects = stands_for("selection", _OPTIONS, _selection)
"""The parameter `selection` of a command becomes the options of the filter."""
