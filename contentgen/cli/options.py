"""Options and arguments that several commands have. Layer: inside cli."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from contentgen.cli import completion

TaskId = Annotated[
    str,
    typer.Argument(metavar="TASK_ID", help="The task.", show_default=False, autocompletion=completion.task_ids),
]
TaskIds = Annotated[
    list[str],
    typer.Argument(
        metavar="TASK_ID", help="One or more tasks.", show_default=False, autocompletion=completion.task_ids
    ),
]


ScheduleId = Annotated[
    int,
    typer.Argument(
        metavar="SCHEDULE_ID",
        min=1,
        help="The schedule.",
        show_default=False,
        autocompletion=completion.schedule_ids,
    ),
]
ScheduleIds = Annotated[
    list[int],
    typer.Argument(
        metavar="SCHEDULE_ID",
        min=1,
        help="One or more schedules.",
        show_default=False,
        autocompletion=completion.schedule_ids,
    ),
]


def account_option(text: str, *, minimum: int = 1) -> Any:
    """`--account`, an account's id of at least `minimum`, with `text` as its help."""
    return typer.Option(
        "--account",
        "-a",
        min=minimum,
        metavar="ID",
        help=text,
        show_default=False,
        autocompletion=completion.account_ids,
    )


OfAccount = Annotated[int | None, account_option("The account. Default: CONTENTGEN_ACCOUNT, or that of the context.")]
OnlyAccount = Annotated[
    int | None, account_option("Only of this account; 0: of all. Default: CONTENTGEN_ACCOUNT, or of all.", minimum=0)
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", "-n", min=1, metavar="N", help="How many at most.", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="To the end, as JSON is; a table ends after 20 rows.")]
PageToken = Annotated[
    str, typer.Option("--page-token", metavar="TOKEN", help="Continue where a list has ended.", show_default=False)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not prompt, not even on a terminal.")]
Statuses = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        help="Only in this state; may be given several times, or several by comma: pending, submitted, processing,"
        " completed, failed, timeout, cancelled.",
        show_default=False,
        autocompletion=completion.task_states,
    ),
]
PAGE_SIZE = 200
"""Of a list that is read to its end."""
