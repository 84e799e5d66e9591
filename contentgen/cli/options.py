"""Options and arguments that several commands have.

Layer: inside operators.
"""

from __future__ import annotations

from typing import Annotated

import typer

TaskId = Annotated[str, typer.Argument(metavar="TASK_ID", help="The task.", show_default=False)]
TaskIds = Annotated[list[str], typer.Argument(metavar="TASK_ID", help="One or more tasks.", show_default=False)]
OfAccount = Annotated[
    int, typer.Option("--account", "-a", min=1, metavar="ID", help="The account.", show_default=False)
]
OnlyAccount = Annotated[
    int,
    typer.Option(
        "--account", "-a", min=0, metavar="ID", help="Only of this account. Default: of all.", show_default=False
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", "-n", min=1, metavar="N", help="How many at most. Default: all.", show_default=False),
]
Statuses = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        help="Only in this state; may be given several times, or several by comma: pending, submitted, processing,"
        " completed, failed, timeout, cancelled.",
        show_default=False,
    ),
]
PAGE_SIZE = 200
"""Of a list that is read to its end."""


def page_size(limit: int | None) -> int:
    """No larger than what is asked for."""
    return min(limit or PAGE_SIZE, PAGE_SIZE)
