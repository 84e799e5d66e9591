"""Commands about many things: lists, and one call for each of several things. Layer: inside cli, above command.

People get a page with a hint how to continue, and programs get all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from google.protobuf.message import Message
from rich.console import Console
from rich.text import Text

from contentgen.cli.command import Session
from contentgen.cli.failures import Status
from contentgen.cli.output import Below, Column, Document, as_text, document, write_line
from contentgen.client.errors import RequestError
from contentgen.client.tasks import PAGE_SIZE
from contentgen.client.transport import Pages, run

ROWS = 20
"""Of a table by default: it fits a screen of 24 lines."""

Id = TypeVar("Id", int, str)


def write_list(
    session: Session,
    pages: Pages[Message],
    columns: Sequence[Column],
    what: str,
    limit: int | None,
    all_: bool,
    page_token: str,
    *,
    row: Callable[[Document], Document] = lambda row: row,
    below: Below | None = None,
) -> None:
    """Writes the rows of a List call while they are read, and how to continue if more follow.

    Args:
        session: where they are written.
        pages: of the call.
        columns: of a table.
        what: names the rows if there are none.
        limit: rows at most; without one, a table has `ROWS` unless `all_`.
        all_: whether a table has all rows.
        page_token: where to begin; empty: with the first.
        row: what is shown of a row; by default all that it is.
        below: what stands under a row of a table.
    """
    pages.token = page_token

    def rows() -> Iterator[Document]:
        left = limit or (ROWS if session.output.tables and not all_ else None)
        while left is None or left > 0:
            page = run(pages.next(min(left or PAGE_SIZE, PAGE_SIZE)))
            if page is None:
                return
            yield from [row(document(message)) for message in page]
            left = None if left is None else left - len(page)

    session.output.many(rows(), columns, what, below)
    if pages.token and limit is None:
        session.output.note(f"more {what} follow: --page-token {pages.token} continues, --all lists all")


def each_of(
    session: Session,
    ids: Sequence[Id],
    call: Callable[[Id], Document | Message],
    show: Callable[[Iterator[Document]], object],
) -> int:
    """Makes a call for each id, and continues after a refusal. The first refusal is the exit status."""
    refusals: list[Status] = []

    def done() -> Iterator[Document]:
        for id_ in ids:
            try:
                answer = call(id_)
                yield document(answer) if isinstance(answer, Message) else answer
            except RequestError as error:
                refusals.append(session.failed(error))

    show(done())
    return next(iter(refusals), Status.DONE)


def delete(
    session: Session, kind: str, ids: list[int], call: Callable[[int], None], line: str, *, yes: bool, also: str = ""
) -> int:
    """Deletes what is of this kind, after a prompt that says what goes with it (`also`); writes a line for each."""
    subject = f"{len(ids)} {kind}s" if len(ids) > 1 else f"{kind} {ids[0]}"
    session.confirm(f"Delete {subject}{also}?", yes=yes)

    def deleted(id_: int) -> Document:
        call(id_)
        return {f"{kind}_id": id_, "deleted": True}

    return each(session, ids, deleted, line)


def each(
    session: Session,
    ids: Sequence[Id],
    call: Callable[[Id], Document | Message],
    line: str | Callable[[Document], str | Text],
) -> int:
    """Makes the calls as `each_of` does, and writes a line for each that is done; a text names fields in braces."""

    def write(console: Console, document: Document) -> None:
        write_line(console, as_text(line.format_map(document) if isinstance(line, str) else line(document)))

    return each_of(session, ids, call, lambda done: session.output.each(done, write, several=len(ids) > 1))
