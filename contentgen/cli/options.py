"""Options and arguments that several commands have. Layer: inside cli."""

from __future__ import annotations

from typing import Annotated

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
OfAccount = Annotated[
    int | None,
    typer.Option(
        "--account",
        "-a",
        min=1,
        metavar="ID",
        help="The account. Default: CONTENTGEN_ACCOUNT, or that of the context.",
        show_default=False,
        autocompletion=completion.account_ids,
    ),
]
OnlyAccount = Annotated[
    int | None,
    typer.Option(
        "--account",
        "-a",
        min=0,
        metavar="ID",
        help="Only of this account; 0: of all. Default: CONTENTGEN_ACCOUNT, or of all.",
        show_default=False,
        autocompletion=completion.account_ids,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", "-n", min=1, metavar="N", help="How many at most.", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="To the end, as JSON is; a table ends after 20 rows.")]
PageToken = Annotated[
    str, typer.Option("--page-token", metavar="TOKEN", help="Go on where a list has ended.", show_default=False)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, on a terminal either.")]
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
