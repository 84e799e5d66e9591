"""Lists: a page with a hint how to continue for people, and all rows for programs. Layer: inside cli, above command."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from google.protobuf.message import Message

from contentgen.cli.command import Session
from contentgen.cli.documents import Document, document
from contentgen.cli.options import PAGE_SIZE
from contentgen.cli.output import Below, Column
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
