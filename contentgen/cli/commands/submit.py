"""`contentgen task submit`. Layer: commands."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer
from rich.text import Text

from contentgen.cli import tables, values
from contentgen.cli.command import Session, command
from contentgen.cli.commands.submit_file import submit_file
from contentgen.cli.commands.waiting import wait_for
from contentgen.cli.documents import document
from contentgen.cli.options import OfAccount, Yes
from contentgen.cli.output import write_line
from contentgen.client import fields
from contentgen.v1 import task_service_pb2 as pb

Keywords = Annotated[str, typer.Option(help="Keywords by comma.", show_default=False)]
Category = Annotated[str, typer.Option(help="Category, kept with the content.", show_default=False)]
Requirements = Annotated[str, typer.Option(help="What the text must follow.", show_default=False)]
Tone = Annotated[str, typer.Option(help="Tone of the text.", show_default=False)]
Priority = Annotated[int, typer.Option("--priority", "-p", min=1, max=10, help="10 goes first.")]
AutoApprove = Annotated[bool, typer.Option(help="Whether the content skips the review.")]
MaxRetries = Annotated[int, typer.Option(min=0, max=100, help="Retries after failures.")]
AutoRetry = Annotated[bool, typer.Option(help="Whether failures are retried by themselves.")]
InitialBackoff = Annotated[
    float | None,
    typer.Option(
        parser=values.seconds,
        metavar="DURATION",
        help="How long to wait before the first retry, such as 5s. Default: 30s.",
        show_default=False,
    ),
]
BackoffMultiplier = Annotated[
    float | None,
    typer.Option(
        min=1, max=100, metavar="NUMBER", help="By what each further wait is longer. Default: 2.", show_default=False
    ),
]
MaxBackoff = Annotated[
    float | None,
    typer.Option(
        parser=values.seconds,
        metavar="DURATION",
        help="The longest wait before a retry. Default: 10m, or the first one where that is longer.",
        show_default=False,
    ),
]
RunLimit = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        parser=values.seconds,
        metavar="DURATION",
        help="How long one attempt may take, such as 90s or 2h. Default: 30m.",
        show_default=False,
    ),
]
ScheduleTime = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Not before this time: ISO 8601, or +2h from now.", show_default=False),
]
ExpireTime = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Cancel it if it was not started by then: ISO 8601, or +2h from now.",
        show_default=False,
    ),
]
RequestId = Annotated[
    str | None,
    typer.Option(
        metavar="ID", help="The same id again returns the first task and creates nothing.", show_default=False
    ),
]
UniqueKey = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        help="While a task of the account with this key is open, return that one and create nothing.",
        show_default=False,
    ),
]
UniqueFor = Annotated[
    float | None,
    typer.Option(
        parser=values.seconds,
        metavar="DURATION",
        help="With --unique-key: how long after its submit, such as 24h, even if it has ended.",
        show_default=False,
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", "-l", metavar="KEY=VALUE", help="A label; several times.", show_default=False),
]
CreatorOptions = Annotated[
    list[str] | None,
    typer.Option("--creator-option", metavar="KEY=VALUE", help="An extra option for the CLI.", show_default=False),
]
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
    """`submit`."""
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


def submit(
    session: Session,
    topic: Topic = None,
    account: OfAccount = None,
    keywords: Keywords = "",
    category: Category = "",
    requirements: Requirements = "",
    tone: Tone = "",
    priority: Priority = 5,
    auto_approve: AutoApprove = True,
    max_retries: MaxRetries = 3,
    auto_retry: AutoRetry = True,
    initial_backoff: InitialBackoff = None,
    backoff_multiplier: BackoffMultiplier = None,
    max_backoff: MaxBackoff = None,
    timeout: RunLimit = None,
    schedule_time: ScheduleTime = None,
    expire_time: ExpireTime = None,
    request_id: RequestId = None,
    unique_key: UniqueKey = None,
    unique_for: UniqueFor = None,
    label: Labels = None,
    creator_option: CreatorOptions = None,
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
    request = pb.SubmitTaskRequest(
        account_id=session.accounts(account) if file else session.account(account),
        topic=topic or "",
        keywords=keywords,
        category=category,
        requirements=requirements,
        tone=tone,
        priority=priority,
        auto_approve=auto_approve,
        max_retries=max_retries,
        auto_retry=auto_retry,
        initial_backoff=fields.duration(initial_backoff),
        backoff_multiplier=backoff_multiplier,
        max_backoff=fields.duration(max_backoff),
        timeout=fields.duration(timeout),
        schedule_time=values.moment(schedule_time),
        expire_time=values.moment(expire_time),
        request_id=request_id or "",
        unique_key=unique_key or "",
        unique_for=fields.duration(unique_for),
        labels=values.pairs(label),
        creator_options=values.pairs(creator_option),
    )
    if file is not None:
        if wait or request_id or unique_key:
            raise typer.BadParameter("--wait, --request-id and --unique-key go with one TOPIC")
        return submit_file(session, file, request, run, dry_run=dry_run, yes=yes)
    request.request_id = request_id or uuid.uuid4().hex  # so that a repeated call makes no second task
    connection = session.connection
    answer = connection.call(connection.stubs.tasks.SubmitTask, request)
    task = answer.task
    if answer.existing:
        session.output.note(f"{task.task_id} was there before: nothing new was submitted")
    if not wait:
        session.output.one(document(task), lambda to, it: write_line(to, Text(it["task_id"])))
        return 0
    (ended,), status = wait_for(session, [task.task_id], wait_timeout)
    session.output.one(ended, tables.task)
    return status
