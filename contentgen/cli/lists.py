"""Lists: a page with a hint how to continue for people, and all rows for programs. Layer: inside cli, above command."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from google.protobuf.message import Message

from contentgen.cli.command import Session
from contentgen.cli.documents import Document, document
from contentgen.cli.options import PAGE_SIZE
from contentgen.cli.output import Below, Column

ROWS = 20
"""Of a table by default: it fits a screen of 24 lines."""

Fetch = Callable[[int, str], tuple[Iterable[Message], str]]
"""So many rows behind a page token, and the token of what follows."""


class Listing(Iterable[Document]):
    """The rows of a List call as documents, read while they are written."""

    def __init__(
        self,
        session: Session,
        fetch: Fetch,
        row: Callable[[Document], Document] = lambda it: it,
        *,
        limit: int | None,
        all_: bool,
        page_token: str,
    ) -> None:
        """Reads nothing yet.

        Args:
            session: where it is written.
            fetch: reads a page.
            row: what is shown of a row; by default all that it is.
            limit: rows at most; without one, a table has `ROWS` unless `all_`.
            all_: whether a table has all rows.
            page_token: where to begin; empty: with the first.
        """
        self._row = row
        self._output = session.output
        self._fetch = fetch
        self._limit = limit or (ROWS if session.output.tables and not all_ else None)
        self._tells = limit is None
        self._token = page_token

    def __iter__(self) -> Iterator[Document]:
        left = self._limit
        while left is None or left > 0:
            rows, self._token = self._fetch(min(left or PAGE_SIZE, PAGE_SIZE), self._token)
            found = [self._row(document(row)) for row in rows]
            yield from found
            left = None if left is None else left - len(found)
            if not self._token:
                return

    def write(self, columns: Sequence[Column], what: str, below: Below | None = None) -> None:
        """Writes them, and how to go on where more follow. `what` they are says what there is none of."""
        self._output.many(self, columns, what, below)
        if self._token and self._tells:
            self._output.note(f"more {what} follow: --page-token {self._token} goes on, --all lists all")
