"""How a command writes what it found: a table for people, JSON or JSON Lines for programs.

Both are made of documents. A document has a message's fields by their names in the contract. Times are ISO 8601 in UTC,
durations are seconds, states are lower-case names, and what is not there (an unset message, an empty text, no content)
is None. Lists are written while they are read, so a million rows need no more memory than one page.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, islice
from typing import Any, Never

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from contentgen.client.documents import label, moment

Document = dict[str, Any]

_NONE: dict[str, object] = dict.fromkeys(
    ("content_id", "regenerates_content_id", "superseded_by_content_id", "schedule_id"), 0
)
"""Fields whose zero means that there is none."""


def document(message: Message) -> Document:
    """Returns all fields of a message, those of its messages within."""
    fields: Sequence[FieldDescriptor] = message.DESCRIPTOR.fields  # type: ignore[assignment] # upb's class is as good
    return {field.name: _value(message, field) for field in fields}


def _value(message: Message, field: FieldDescriptor) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        return dict(sorted(value.items())) if is_map else [_single(field, item) for item in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _single(field, value)


def _single(field: FieldDescriptor, value: Any) -> Any:
    if field.enum_type is not None:
        return label(field.enum_type, value) if value else None
    if isinstance(value, Timestamp):
        return moment(value)
    if isinstance(value, Duration):
        return value.seconds + value.nanos / 1e9
    if isinstance(value, Message):
        return document(value)
    return None if value in {"", _NONE.get(field.name)} else value


_MEASURED = 200
"""Rows whose cells decide how wide a column begins."""
_GAP = "  "
_INDENT = "    "
_CONTROLS = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}
"""JSON allows these as they are, and a terminal acts on them."""


class Format(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    """A table with more columns than 80 characters hold."""
    JSON = "json"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    cell: Callable[[Document], Text | str]
    """The cell of a row; without line breaks or control characters."""
    right: bool = False
    """Whether it is aligned to the right, as numbers are."""
    wide: bool = False
    """Whether only a wide table has it."""


Below = Callable[[Document], str]
"""What stands under a row of a table; empty: nothing."""


class _Console(Console):
    def on_broken_pipe(self) -> Never:
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """Returns a console that shows texts as they are: in colours on a terminal only, and never read as markup."""
    return _Console(stderr=stderr, highlight=False, markup=False, emoji=False)


class Output:
    """Writes to standard output; what is for a person's eye only goes to standard error."""

    def __init__(self, format_: Format) -> None:
        self.format = format_
        self.out = console()
        self.err = console(stderr=True)

    @property
    def tables(self) -> bool:
        return self.format in {Format.TABLE, Format.WIDE}

    def one(self, document: Document, table: Callable[[Console, Document], None]) -> None:
        """Writes one resource; `table` writes it for people."""
        if self.tables:
            table(self.out, document)
        else:
            self._json(document)

    def many(
        self, documents: Iterable[Document], columns: Sequence[Column], what: str, below: Below | None = None
    ) -> None:
        """Writes a list as it comes; `what` names the rows where there are none. `below`: see `table_lines`."""
        if self.format is Format.JSON:
            self._array(documents)
        elif self.format is Format.JSONL:
            for document in documents:
                self._json(document)
        elif not table(self.out, documents, chosen(columns, wide=self.format is Format.WIDE), below):
            self.note(f"no {what}")

    def each(self, documents: Iterable[Document], table: Callable[[Console, Document], None], *, several: bool) -> bool:
        """Prints resources as they come, each as `one` does; in JSON as a list if `several` were requested.

        Returns whether there were any.
        """
        if several and self.format is Format.JSON:
            return self._array(documents)
        has_documents = False
        for document in documents:
            self.one(document, table)
            has_documents = True
        return has_documents

    def event(self, document: Document, line: Callable[[Document], Text]) -> None:
        """Writes an event of a stream without an end, so that in JSON each is a line, too."""
        if self.tables:
            write_line(self.out, line(document))
        else:
            sys.stdout.write(_json(document) + "\n")
        sys.stdout.flush()

    def text(self, text: str, document: Document) -> None:
        """Writes `text` for people, and `document` for programs."""
        self.one(document, lambda console, _: write_line(console, Text(text)))

    def raw(self, text: str) -> None:
        """Writes a text as it is, which the caller has made safe for a terminal, at once."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Writes a line for people beside the result, to standard error."""
        self.err.print(Text(text), soft_wrap=True)

    def complain(self, text: str) -> None:
        """Notes what went wrong, with the name of the program that says it."""
        self.note(f"contentgen: {text}")

    def _json(self, document: Document) -> None:
        sys.stdout.write(_json(document, indent=None if self.format is Format.JSONL else 2) + "\n")

    def _array(self, documents: Iterable[Document]) -> bool:
        separator = "[\n"
        for document in documents:
            sys.stdout.write(separator + _json(document))
            separator = ",\n"
        has_documents = separator != "[\n"
        sys.stdout.write("\n]\n" if has_documents else "[]\n")
        return has_documents


def _json(document: Document, indent: int | None = None) -> str:
    has_all_characters = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"  # of the terminal or the pipe
    return json.dumps(document, ensure_ascii=not has_all_characters, indent=indent).translate(_CONTROLS)


def write_line(to: Console, text: Text) -> None:
    """Writes a line, which is cut to the width of a terminal and never in a pipe or a file."""
    if to.is_terminal:
        to.print(text, no_wrap=True, overflow="ellipsis")
    else:
        to.file.write(f"{text.plain}\n")  # rich takes ten times as long, which lists of many pages feel


def chosen(columns: Sequence[Column], *, wide: bool) -> Sequence[Column]:
    """Returns the columns of a table that is wide, or fits 80 characters."""
    return columns if wide else [column for column in columns if not column.wide]


def table(to: Console, documents: Iterable[Document], columns: Sequence[Column], below: Below | None = None) -> bool:
    """Writes `table_lines` as they come, and returns whether there were any."""
    has_rows = False
    for line in table_lines(documents, columns, below, to.width if to.is_terminal else None):
        write_line(to, line)
        has_rows = True
    return has_rows


def table_lines(
    documents: Iterable[Document], columns: Sequence[Column], below: Below | None = None, width: int | None = None
) -> Iterator[Text]:
    """Yields a heading and a line for each document; nothing where there is none.

    The first rows decide how wide the columns are, and a wider cell later widens its column from there on.

    Args:
        documents: the rows.
        columns: of each row.
        below: what stands whole under a row that has something to say.
        width: of the lines below a row, which are broken there; None: they are not broken.
    """
    rows = (
        ([as_text(column.cell(document)) for column in columns], below(document) if below else "")
        for document in documents
    )
    first = list(islice(rows, _MEASURED))
    if not first:
        return
    heading = [Text(column.title, "bold") for column in columns]
    widths = [max(cell_len(row[i].plain) for row in [heading, *(row for row, _ in first)]) for i in range(len(columns))]
    yield _aligned(heading, widths, columns)
    for row, remark in chain(first, rows):
        yield _aligned(row, widths, columns)
        yield from indented(remark, width)


def indented(text: str, width: int | None) -> Iterator[Text]:
    """Yields a text on lines of its own, broken at `width` or nowhere."""
    for line in text.splitlines():
        yield from (Text(f"{_INDENT}{part}", "dim") for part in broken(line, width, len(_INDENT)))


def broken(line: str, width: int | None, indent: int) -> Sequence[str]:
    """Returns a line in parts that fit a width beside an indent, by the cells of a terminal; None: whole."""
    return [part.plain.rstrip() for part in Text(line).wrap(console(), max(width - indent, 20))] if width else [line]


def as_text(cell: Text | str) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)


def _aligned(row: Sequence[Text], widths: list[int], columns: Sequence[Column]) -> Text:
    line = Text()
    for i, (cell, column) in enumerate(zip(row, columns, strict=True)):
        widths[i] = max(widths[i], cell_len(cell.plain))
        padding = " " * (widths[i] - cell_len(cell.plain))
        parts = (padding, cell) if column.right else (cell, padding)
        line.append_text(Text.assemble(_GAP if i else "", *parts))
    line.rstrip()
    return line


def fields(to: Console, pairs: Iterable[tuple[str, Text | str]]) -> None:
    """Writes a line for each field that says something, names aligned; a value of several lines stands below."""
    filled_pairs = [(name, value) for name, value in pairs if str(value)]
    width = max(len(name) for name, _ in filled_pairs)
    for name, value in filled_pairs:
        if "\n" in str(value).strip("\n"):
            to.print(Text(name, "bold"), soft_wrap=True)
            for line in indented(str(value).strip("\n"), None):
                to.print(line, soft_wrap=True)
        else:
            to.print(Text.assemble((f"{name:<{width}}", "bold"), _GAP, value), soft_wrap=True)
