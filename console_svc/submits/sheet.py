"""Many tasks in a sheet: CSV, cells copied out of a spreadsheet, or a topic a line. They are submitted in batches."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple, cast

from console_svc.submits.fields import FALSE, TRUE, TYPED, Values, read
from console_svc.web.forms import BadValue, Form
from console_svc.web.language import PageText, filled, refused, text
from console_svc.web.sessions import Session
from console_svc.web.violations import violation
from console_svc.web.work import Work, patiently
from contentgen import NewTask, RequestError, ResourceNotFoundException
from contentgen.client.tasks import OF_ONE_SUBMIT, batches
from contentgen.submit_fields import NAMES

MAX_ROWS = 5_000
MAX_CHARACTERS = 2_000_000
ENCODINGS: Mapping[str, str] = {
    "": "",
    "UTF-8": "utf-8-sig",
    "GB18030 (GBK)": "gb18030",
    "Big5": "big5hkscs",
    "UTF-16": "utf-16",
    "Windows-1252": "cp1252",
}
"""What a user may choose; empty: as the file looks."""
BATCH = 200
BATCH_CHARACTERS = 500_000
"""Of texts, so that a message stays below 4 MiB in any script."""
LABEL = "sheet"
"""The key of the label that the tasks of a sheet get, so that a list shows them alone."""
_MAX_LABELS = 32
"""Labels that a task may have: a row with as many of its own gets no more."""
_REVIEW = "review"
"""A column that says, as the form does, whether an editor reviews: what `auto_approve` says the other way round."""
_BY_AN_EDITOR, _NONE = {"by an editor", "由编辑审核", "需要", "需审核"}, {"none", "无", "不需要", "免审核"}
_INDEX = re.compile(r"requests\[(\d+)\]\.?")


class Row(NamedTuple):
    """A row of the sheet, with the defaults that it leaves. `problems` by field; empty: it can be submitted."""

    line: int
    topic: str
    values: Values
    problems: Mapping[str, str]


class Sheet(NamedTuple):
    rows: Sequence[Row]
    unknown: Sequence[str]
    """Columns that no field has: they are left out."""

    @property
    def good(self) -> Sequence[Row]:
        return [row for row in self.rows if not row.problems]

    @property
    def bad(self) -> Sequence[Row]:
        return [row for row in self.rows if row.problems]


def decoded(file: bytes, encoding: str) -> tuple[str, str]:
    """Decodes a file, and returns its text and the name of its encoding. Raises BadValue if it is text in none."""
    looks = ["UTF-16"] if file.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else ["UTF-8", "GB18030 (GBK)"]
    names = [encoding] if ENCODINGS.get(encoding) else looks
    for name in names:
        try:
            return file.decode(ENCODINGS[name]), name
        except UnicodeError:
            continue
    raise BadValue(
        text("The file is no text in {encoding}. Choose its encoding, or save it as CSV UTF-8."),
        encoding=" / ".join(names),
    )


def label_of(run: str) -> str:
    """Returns the value of the label that this submit of a sheet gives its tasks: the same for the same run."""
    return hashlib.sha256(run.encode()).hexdigest()[:12]


def sheet(source: str, defaults: Mapping[str, str], form: Form, run: str) -> Sheet:
    """Returns the rows. What a row leaves empty is as `defaults` say, which were typed into the form.

    Each row has a request_id that follows from its words and `run`: submitted again, it makes no second task. Raises
    BadValue.
    """
    plain_text = source.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    if len(plain_text) > MAX_CHARACTERS:
        raise BadValue(text("It should have {n} characters at most."), n=f"{MAX_CHARACTERS:,}")
    columns, cells = _cells(plain_text)
    rows: list[Row] = []
    occurrences: Counter[str] = Counter()
    for line, row in cells:
        if len(rows) == MAX_ROWS:
            raise BadValue(text("It should have {n} rows at most. Split it."), n=f"{MAX_ROWS:,}")
        row_values = {
            name: cell.strip()
            for name, cell in zip(columns, row, strict=False)
            if (name in TYPED or name == _REVIEW) and cell.strip()
        }
        if review := row_values.pop(_REVIEW, ""):
            row_values["auto_approve"] = _auto_approve(review)
        row_form = Form({**defaults, **row_values}, zone=form.zone, account=form.read_account)
        words = json.dumps([run, row_form.typed, str(form.zone)], sort_keys=True)
        occurrences[words] += 1
        values = read(row_form)
        if len(row) > len(columns) and any(cell.strip() for cell in row[len(columns) :]):
            row_form.problems[""] = text("It has more cells than the first row names.")
        labels = cast("Mapping[str, str]", values.get("labels") or {})
        if len(labels) < _MAX_LABELS:
            values["labels"] = {LABEL: label_of(run), **labels}
        values["request_id"] = f"row-{hashlib.sha256(f'{occurrences[words]} {words}'.encode()).hexdigest()[:32]}"
        rows.append(Row(line, row_form.typed.get("topic", ""), values, row_form.problems))
    if not rows:
        raise BadValue(text("There is no row in it."))
    return Sheet(rows, [name for name in columns if name and name not in TYPED and name != _REVIEW])


def _cells(plain_text: str) -> tuple[Sequence[str], Iterator[tuple[int, Sequence[str]]]]:
    """Returns the names of the columns, and the rows with their lines. Without names each line is a topic."""
    first_line = next((line for line in plain_text.splitlines() if line.strip()), "")
    delimiter = max("\t,;，", key=first_line.count)
    delimiter = delimiter if delimiter in first_line else ","
    try:
        names = [_known(name) for name in next(csv.reader([first_line], delimiter=delimiter), [])]
    except csv.Error:
        names = []
    if "topic" not in names:
        if set(names) & (TYPED.keys() - {"topic"}):
            raise BadValue(text("The first row names no column topic."))
        lines = ((number, [line]) for number, line in enumerate(plain_text.split("\n"), 1) if line.strip())
        return ["topic"], lines
    if duplicates := [name for name, count in Counter(names).items() if count > 1 and name in TYPED]:
        raise BadValue(text("The first row names the column {name} twice."), name=duplicates[0])
    return names, _below(plain_text, delimiter)


def _below(plain_text: str, delimiter: str) -> Iterator[tuple[int, Sequence[str]]]:
    reader = csv.reader(io.StringIO(plain_text, newline=""), delimiter=delimiter, strict=True)
    head, line = False, 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                if head:
                    yield line, row
                head = True
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadValue(
            text("From line {line} on it is no CSV ({why}): look for a quote that is not closed."), line=line, why=error
        ) from None


def _known(name: str) -> str:
    field_name = name.strip().lower().replace(" ", "_").replace("-", "_")
    return _REVIEW if field_name in {_REVIEW, "审核"} else NAMES.get(field_name, name.strip())


def _auto_approve(review: str) -> str:
    """Returns what is typed for `auto_approve` where this is typed for the review; other text stays, to be refused."""
    answer = review.lower()
    if answer in TRUE | _BY_AN_EDITOR:
        return "false"
    return "true" if answer in FALSE | _NONE else review


async def submit(session: Session, rows: Sequence[Row], work: Work) -> None:
    """Raises RequestError for what is no row's fault; what has been submitted stays, and is not submitted twice."""

    def characters(row: Row) -> int:
        return sum(len(value) for value in row.values.values() if isinstance(value, str))

    for batch in batches(rows, characters, BATCH, BATCH_CHARACTERS):
        await _taken(session, batch, work)


async def _taken(session: Session, batch: Sequence[Row], work: Work) -> None:
    try:
        await patiently(partial(session.client.submit_tasks, [cast("NewTask", row.values) for row in batch]))
        work.done += len(batch)
    except RequestError as error:
        if not (isinstance(error, ResourceNotFoundException) or error.reason in OF_ONE_SUBMIT):
            raise
        reasons = _refused(error, batch)
        for row in batch:
            if row.line in reasons:
                work.fail(f"{row.line}: {row.topic[:80]}", "", text("{why}"), why=reasons[row.line])
        remaining_rows = [row for row in batch if row.line not in reasons]
        middle = 0 if reasons else len(remaining_rows) // 2
        for part in (remaining_rows[:middle], remaining_rows[middle:]):
            if part:
                await _taken(session, part, work)


def _refused(error: RequestError, batch: Sequence[Row]) -> dict[int, str]:
    """Returns why rows were refused, by line; empty if the error does not say which."""
    if len(batch) == 1:
        return {batch[0].line: refused(error, _INDEX.sub("", error.message))}
    reasons: dict[int, str] = {}
    for field, description in error.field_violations:
        if (index := _INDEX.match(field)) and int(index[1]) < len(batch):
            name = _INDEX.sub("", field)
            label = PageText(TYPED[name].label) if name in TYPED else name
            reasons[batch[int(index[1])].line] = filled(text("{field}: {why}"), field=label, why=violation(description))
    return reasons
