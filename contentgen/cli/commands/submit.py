"""`contentgen task submit`: one task, or the rows of a file in batches, with what became of each. Layer: commands.

A file has JSON Lines, or CSV with a head line. A row has the fields of a submit by their names; what it leaves out is
as the options of the command say.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.text import Text

from contentgen.cli import cells, tables, values
from contentgen.cli.command import Commands, Session
from contentgen.cli.commands.following import wait_for
from contentgen.cli.failures import Status, error_line, status_of
from contentgen.cli.options import SUBMITTED, OfAccount, Yes, with_options
from contentgen.cli.output import Column, Document, document, write_line
from contentgen.cli.progress import counting
from contentgen.cli.values import argument, option
from contentgen.client.errors import RequestError, ResourceNotFoundException
from contentgen.client.tasks import OF_ONE_SUBMIT, SubmitRequest, batches, set_field, submit_request
from contentgen.submit_fields import BY_NAME, NAMES, Kind, NewTask

Topic = Annotated[str | None, argument("TOPIC", "What to write about.")]
File = Annotated[
    str | None,
    option("Rows to submit, *.jsonl or *.csv; -: JSON Lines from standard input.", "--file", "-f", metavar="FILE"),
]
Run = Annotated[str, option("With --file: tells this run from others.", metavar="NAME")]
DryRun = Annotated[bool, option("With --file: only check the rows.", "--dry-run")]
Wait = Annotated[bool, option("Wait until it has ended, and show how far it is.", "--wait")]
WaitLimit = Annotated[
    float | None,
    option(
        "With --wait: how long, such as 10m. Default: until it has ended.", parser=values.seconds, metavar="DURATION"
    ),
]

command = Commands()


@command(
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
)
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


BATCH = 500
BATCH_BYTES = 3 << 20
"""Of requests, where a message may have 4 MiB."""

_COLUMNS = (
    Column("LINE", lambda task: str(task["line"]), right=True),
    Column("TASK", lambda task: task["task_id"]),
    Column("TOPIC", lambda task: cells.line(task["topic"])),
)


def submit_file(session: Session, path: str, defaults: SubmitRequest, run: str, *, dry_run: bool, yes: bool) -> int:
    """Submits the good rows and names the bad ones; returns the exit status."""
    all_rows = list(rows(path, defaults, run))
    good_rows = [row for row in all_rows if isinstance(row, Row)]
    submits = _Submits(session, [row for row in all_rows if isinstance(row, BadRow)])
    if dry_run:
        text = f"would be submitted: {len(good_rows):,} of {len(all_rows):,} rows"
        session.output.text(text, {"rows": len(all_rows), "submitted": len(good_rows), "dry_run": True})
        return submits.status
    if good_rows:
        remark = f" ({len(all_rows) - len(good_rows):,} rows are bad)" if len(good_rows) < len(all_rows) else ""
        session.confirm(f"Submit {len(good_rows):,} tasks{remark}?", yes=yes)
    submits.run(good_rows)
    advice = "; repeat the command to continue: what is submitted is not submitted twice" if submits.stopped else ""
    session.output.note(f"submitted {submits.done:,} of {len(all_rows):,} rows{advice}")
    return submits.status


class _Submits:
    """Submits the rows of one file, and counts what became of them."""

    def __init__(self, session: Session, bad_rows: Sequence[BadRow]) -> None:
        self._session = session
        self.done = 0
        self.stopped = False
        self.status = Status.DONE
        for row in bad_rows:
            self._refuse(row)

    def run(self, good_rows: Sequence[Row]) -> None:
        """Submits them, and writes the tasks; on a terminal a bar says how many there are."""
        output = self._session.output
        if not (output.tables and output.out.is_terminal):
            output.many(self._submitted(good_rows), _COLUMNS, "rows to submit")
            return
        with counting(output.err, "submitted", len(good_rows)) as show:
            for count, _ in enumerate(self._submitted(good_rows), 1):
                show(count)

    def _submitted(self, good_rows: Sequence[Row]) -> Iterator[Document]:
        for batch in batches(good_rows, lambda row: row.request.ByteSize(), BATCH, BATCH_BYTES):
            try:
                yield from self._taken(batch)
            except RequestError as error:
                self.stopped = True
                self.status = status_of(error)
                self._say(f"stopped at line {batch[0].line}: {error_line(error)}")
                return

    def _taken(self, batch: Sequence[Row]) -> Iterator[Document]:
        """Yields a batch's tasks; halved until each row that is refused stands alone. Raises what is no row's fault."""
        try:
            tasks = self._session.client.submit_tasks(cast("NewTask", row.request) for row in batch).tasks
        except RequestError as error:
            if not (isinstance(error, ResourceNotFoundException) or error.reason in OF_ONE_SUBMIT):
                raise
            if len(batch) == 1:
                self._refuse(BadRow(batch[0].line, self._why(error)))
                return
            half = len(batch) // 2
            yield from self._taken(batch[:half])
            yield from self._taken(batch[half:])
            return
        for row, task in zip(batch, tasks, strict=True):
            self.done += 1
            yield {"line": row.line, "task_id": task.task_id, "topic": task.topic}

    def _why(self, error: RequestError) -> str:
        if error.reason == "REQUEST_ID_CONFLICT":
            return "it was submitted before, with other options; another --run submits it again"
        return error_line(error).replace("requests[0].", "")

    def _refuse(self, row: BadRow) -> None:
        self.status = Status.USAGE
        self._say(f"line {row.line}: {row.why}")

    def _say(self, text: str) -> None:
        self._session.output.complain(cells.line(text))


_TRUE, _FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})


@dataclass(frozen=True, slots=True)
class Row:
    line: int
    request: SubmitRequest


@dataclass(frozen=True, slots=True)
class BadRow:
    line: int
    why: str


def rows(path: str, defaults: SubmitRequest, run: str) -> Iterator[Row | BadRow]:
    """Yields each row of a file in its order; `-`: of standard input, as JSON Lines.

    A row without a `request_id` gets one that follows from its own words and `run`: the same row again makes no second
    task. Of equal rows each has its own. Raises BadParameter if the file can't be read.
    """
    occurrences: Counter[str] = Counter()
    try:
        for line, fields in _csv(path) if path.lower().endswith(".csv") else _json_lines(path):
            if isinstance(fields, str):
                yield BadRow(line, fields)
                continue
            words = json.dumps(fields, sort_keys=True)
            occurrences[words] += 1
            yield _row(line, fields, defaults, f"{run}\n{occurrences[words]}\n{words}")
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{path} should be UTF-8") from None
    except (OSError, csv.Error) as error:
        raise typer.BadParameter(f"{path} can't be read: {error}") from None


def _row(line: int, fields: Mapping[str, Any], defaults: SubmitRequest, words: str) -> Row | BadRow:
    request = SubmitRequest()
    request.CopyFrom(defaults)
    try:
        for name, value in fields.items():
            if name not in NAMES:
                raise ValueError("no such field; there are: " + ", ".join(BY_NAME))
            set_field(request, NAMES[name], _READERS[BY_NAME[NAMES[name]].kind](value))
    except typer.BadParameter as error:
        return BadRow(line, error.message)
    except (TypeError, ValueError, OverflowError) as error:
        return BadRow(line, f"{name}: {error}")
    if not request.topic.strip():
        return BadRow(line, "topic is missing")
    if not request.account_id:
        return BadRow(line, "account is missing: give it in the row, or --account")
    request.request_id = request.request_id or f"row-{hashlib.sha256(words.encode()).hexdigest()[:32]}"
    return Row(line, request)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("should be a text")
    return value


def _words(value: Any) -> str:
    return ",".join(map(_text, value)) if isinstance(value, list) else _text(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"-?\d{1,18}", str(value)):
        raise ValueError(f"{value!r} should be a whole number")
    return int(value)


def _boolean(value: Any) -> bool:
    text = str(value).lower()
    if text not in _TRUE | _FALSE:
        raise ValueError("should be true or false")
    return text in _TRUE


def _pairs(value: Any) -> dict[str, str]:
    """Reads an object, or a text such as `key=value;key=value`."""
    if isinstance(value, dict):
        return {key: _text(item) for key, item in value.items()}
    return values.pairs(pair.strip() for pair in _text(value).split(";") if pair.strip())


_READERS: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.ID: _whole,
    Kind.TEXT: _text,
    Kind.WORDS: _words,
    Kind.WHOLE: _whole,
    Kind.NUMBER: float,
    Kind.YES_NO: _boolean,
    Kind.LENGTH: lambda value: values.seconds(str(value)),
    Kind.TIME: lambda value: values.time(_text(value)),
    Kind.PAIRS: _pairs,
}


def _json_lines(path: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yields rows, or what is wrong with them, by the number of their line."""
    lines = (sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()).split(b"\n")
    for number, line in enumerate(lines, 1):
        text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        if not text:
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:  # RecursionError: it is nested a thousand deep
            yield number, f"is no JSON: {error}"
        else:
            yield number, row if isinstance(row, dict) else "should be a JSON object"


def _csv(path: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Reads the rows of a CSV file, as `_json_lines` does; an empty cell is left out."""
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            if None in row:
                yield reader.line_num, "has more cells than the head line"
            else:
                yield reader.line_num, {name: cell for name, cell in row.items() if cell}
