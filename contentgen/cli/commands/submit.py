"""`contentgen task submit`. Layer: commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.text import Text

from contentgen.cli import tables, values
from contentgen.cli.command import Session, command
from contentgen.cli.commands.submit_file import submit_file
from contentgen.cli.commands.waiting import wait_for
from contentgen.cli.documents import document
from contentgen.cli.options import OfAccount, Yes
from contentgen.cli.output import write_line
from contentgen.cli.submit_options import SUBMITTED, with_options
from contentgen.client.submits import submit_request

Topic = Annotated[str | None, typer.Argument(metavar="TOPIC", help="What to write about.", show_default=False)]
File = Annotated[
    str | None,
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        help="Rows to submit, *.jsonl or *.csv; -: JSON Lines from standard input.",
        show_default=False,
    ),
]
Run = Annotated[
    str, typer.Option("--run", metavar="NAME", help="With --file: tells this run from others.", show_default=False)
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="With --file: only check the rows.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until it has ended, and show how far it is.")]

WaitLimit = Annotated[
    float | None,
    typer.Option(
        parser=values.seconds,
        metavar="DURATION",
        help="With --wait: how long, such as 10m. Default: until it has ended.",
        show_default=False,
    ),
]


def add_to(app: typer.Typer) -> None:
    """Adds the command `submit` to `app`."""
    command(
        app,
        "submit",
        'contentgen task submit --account 1 "Working well from home"',
        'contentgen task submit -a 1 -p 8 --keywords AI,技术 --tone 专业 "人工智能的未来发展" --wait',
        'contentgen task submit -a 1 --schedule-time +2h --label campaign=spring "Spring is here"',
        'contentgen task submit -a 1 --expire-time +2h "News of this morning"',
        'contentgen task submit -a 1 --initial-backoff 5s --max-backoff 1m --max-retries 10 "Soon again"',
        'id=$(contentgen task submit -a 1 --request-id order-17 "Once, however often this runs")',
        'contentgen task submit -a 1 --unique-key news-2030-01-31 --unique-for 24h "News of the day"',
        "contentgen task submit -a 1 --file topics.csv --dry-run",
        "contentgen task submit -a 1 --file topics.jsonl --label campaign=spring --run week-17",
    )(submit)


@with_options(SUBMITTED)
def submit(
    session: Session,
    topic: Topic = None,
    account: OfAccount = None,
    *,
    given: Mapping[str, Any],
    wait: Wait = False,
    wait_timeout: WaitLimit = None,
    file: File = None,
    run: Run = "",
    dry_run: DryRun = False,
    yes: Yes = False,
) -> int:
    """Submit a task, and print its id.

    With --wait it shows how far the task is, prints the whole task once it has ended, and exits as `contentgen task
    wait` does.

    With --file it submits a task for each row, in batches: JSON Lines, or CSV with a head line. Keys and columns are
    the options' names (topic, account, priority, schedule_time …); what a row leaves out is as the options say. Bad
    rows are named by their line and left out. The same file again makes no second tasks, so that what was interrupted
    can be repeated; another --run does.
    """
    if (topic is None) == (file is None):
        raise typer.BadParameter("give either TOPIC or --file")
    if file is None and (run or dry_run):
        raise typer.BadParameter("--run and --dry-run go with --file")
    if file is not None:
        if wait or given.get("request_id") or given.get("unique_key"):
            raise typer.BadParameter("--wait, --request-id and --unique-key go with one TOPIC")
        defaults = submit_request(account_id=session.accounts(account), **given)
        return submit_file(session, file, defaults, run, dry_run=dry_run, yes=yes)
    answer = session.client.submit_task(session.account(account), topic or "", **given)
    task = answer.task
    if answer.existing:
        session.output.note(f"{task.task_id} was there before: nothing new was submitted")
    if not wait:
        session.output.one(document(task), lambda console, fields: write_line(console, Text(fields["task_id"])))
        return 0
    (ended_task,), status = wait_for(session, [task.task_id], wait_timeout)
    session.output.one(ended_task, tables.task)
    return status
