"""One call for each of several things. Layer: commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.text import Text

from contentgen.cli.command import Session
from contentgen.cli.documents import Document
from contentgen.cli.failures import Status
from contentgen.cli.output import write_line
from contentgen.client.errors import RequestError

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
