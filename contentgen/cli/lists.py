"""Commands about many things: lists, and one call for each of several things. Layer: inside cli, above command.

People get a page with a hint how to continue, and programs get all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from google.protobuf.message import Message
from rich.console import Console
from rich.text import Text

from contentgen.cli.command import Session
from contentgen.cli.failures import Status
from contentgen.cli.options import PAGE_SIZE
from contentgen.cli.output import Below, Column, Document, document, write_line
from contentgen.client.errors import RequestError
from contentgen.client.transport import Pages, run

ROWS = 20
"""Of a table by default: it fits a screen of 24 lines."""


class Listing(Iterable[Document]):
    """The rows of a List call as documents, read while they are written."""

    def __init__(
        self,
        session: Session,
        pages: Pages[Message],
        row: Callable[[Document], Document] = lambda row: row,
        *,
        limit: int | None,
        all_: bool,
        page_token: str,
    ) -> None:
        """Reads nothing yet.

        Args:
            session: where it is written.
            pages: of the call.
            row: what is shown of a row; by default all that it is.
            limit: rows at most; without one, a table has `ROWS` unless `all_`.
            all_: whether a table has all rows.
            page_token: where to begin; empty: with the first.
        """
        self._row = row
        self._output = session.output
        self._pages = pages
        self._pages.token = page_token
        self._limit = limit or (ROWS if session.output.tables and not all_ else None)
        self._tells = limit is None

    def __iter__(self) -> Iterator[Document]:
        rows_left = self._limit
        while rows_left is None or rows_left > 0:
            rows = run(self._pages.next(min(rows_left or PAGE_SIZE, PAGE_SIZE)))
            if rows is None:
                return
            yield from [self._row(document(row)) for row in rows]
            rows_left = None if rows_left is None else rows_left - len(rows)

    def write(self, columns: Sequence[Column], what: str, below: Below | None = None) -> None:
        """Writes the rows, and how to continue where more follow. `what` names them where there are none."""
        self._output.many(self, columns, what, below)
        if self._pages.token and self._tells:
            self._output.note(f"more {what} follow: --page-token {self._pages.token} continues, --all lists all")


Id = TypeVar("Id", int, str)


def each_of(
    session: Session, ids: Sequence[Id], call: Callable[[Id], Document], show: Callable[[Iterator[Document]], None]
) -> int:
    """Makes a call for each id, and continues after a refusal. The first refusal is the exit status."""
    refusals: list[Status] = []

    def done() -> Iterator[Document]:
        for id_ in ids:
            try:
                yield call(id_)
            except RequestError as error:
                refusals.append(session.failed(error))

    show(done())
    return next(iter(refusals), Status.DONE)


def each(
    session: Session, ids: Sequence[Id], call: Callable[[Id], Document], line: Callable[[Document], str | Text]
) -> int:
    """Makes the calls as `each_of` does, and writes a line for each that is done."""

    def write(console: Console, document: Document) -> None:
        text = line(document)
        write_line(console, text if isinstance(text, Text) else Text(text))

    def show(documents: Iterator[Document]) -> None:
        session.output.each(documents, write, several=len(ids) > 1)

    return each_of(session, ids, call, show)
