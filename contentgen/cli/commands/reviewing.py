"""`contentgen content review`: decisions that are given, or made one by one on a terminal. Layer: commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich.console import Console

from contentgen.cli import completion, tables
from contentgen.cli.command import Session, command
from contentgen.cli.commands.contents import get
from contentgen.cli.commands.each import each
from contentgen.cli.documents import Document, document
from contentgen.cli.failures import Status
from contentgen.cli.keys import keys
from contentgen.cli.options import PAGE_SIZE, OnlyAccount
from contentgen.client.errors import RequestError
from contentgen.v1 import content_service_pb2 as pb

SomeContents = Annotated[
    list[int] | None,
    typer.Argument(
        metavar="CONTENT_ID",
        min=1,
        help="The contents. Default: all that wait for a review.",
        show_default=False,
        autocompletion=completion.content_ids,
    ),
]
Decision = Annotated[
    bool | None,
    typer.Option("--approve/--reject", help="Into the publish pool, or not to be published.", show_default=False),
]
Comment = Annotated[str, typer.Option("--comment", "-m", help="What the reviewer says.", show_default=False)]

_QUESTION = "(a)pprove  (r)eject  (s)kip  (v)iew again  (q)uit: "
_WITHOUT_LESS_OPTIONS = "-FRX"
"""Of `less`: a short article is printed, and stays on the screen."""


def add_to(app: typer.Typer) -> None:
    """`review`."""
    command(
        app,
        "review",
        "contentgen content review 17 18 --approve",
        'contentgen content review 17 --reject --comment "Two facts are wrong"',
        "contentgen content review --account 1",
    )(review)


def review(
    session: Session,
    content_ids: SomeContents = None,
    approve: Decision = None,
    comment: Comment = "",
    account: OnlyAccount = None,
) -> int:
    """Approve or reject contents that wait for their review. A content is decided once.

    Without a decision it shows them one by one on a terminal, in the pager (PAGER, by default less, which q ends), and
    takes a key for each.
    """
    if approve is None:
        if not (sys.stdin.isatty() and session.output.out.is_terminal and session.output.tables):
            raise typer.BadParameter("give --approve or --reject; one by one is for a terminal")
        return _one_by_one(session, content_ids or _waiting(session, account), comment)
    if not content_ids:
        raise typer.BadParameter("give the contents to decide on")
    return each(session, content_ids, lambda content_id: _decide(session, content_id, approve, comment), _line)


def _decide(session: Session, content_id: int, approve: bool, comment: str) -> Document:
    decision = pb.REVIEW_DECISION_APPROVE if approve else pb.REVIEW_DECISION_REJECT
    request = pb.ReviewContentRequest(content_id=content_id, decision=decision, comment=comment)
    connection = session.connection
    return document(connection.call(connection.stubs.contents.ReviewContent, request).content)


def _line(content: Document) -> str:
    in_pool = " and in the publish pool" if content["review_status"] == "approved" else ""
    return f"content {content['content_id']} is {content['review_status']}{in_pool}"


def _waiting(session: Session, account: int | None) -> Iterator[int]:
    """The contents that wait, the newest first."""
    request = pb.ListContentsRequest(
        account_id=session.accounts(account), review_status=pb.REVIEW_STATUS_PENDING_REVIEW, page_size=PAGE_SIZE
    )
    connection = session.connection
    return connection.items(
        connection.stubs.contents.ListContents, request, lambda page: [content.content_id for content in page.contents]
    )


def _one_by_one(session: Session, content_ids: Sequence[int] | Iterator[int], comment: str) -> int:
    """The exit status: the first refusal's."""
    os.environ.setdefault("LESS", _WITHOUT_LESS_OPTIONS)
    status, seen = Status.DONE, 0
    for content_id in content_ids:
        seen += 1
        try:
            if not _ask(session, get(session, content_id), comment):
                break
        except RequestError as error:
            status = status or session.failed(error)
    if not seen:
        session.output.note("no content waits for a review")
    return status


def _ask(session: Session, content: Document, comment: str) -> bool:
    """Shows a content and does what the key says; False: no more of them."""
    to = session.output.out
    _view(to, content)
    while (key := _pressed(to)) != "q":
        if key == "v":
            _view(to, content)
        elif key == "s":
            return True
        elif key in {"a", "r"}:
            said = comment or _comment(to)
            to.print(_line(_decide(session, content["content_id"], key == "a", said)))
            return True
    return False


def _view(to: Console, content: Document) -> None:
    with to.pager(styles=True):
        tables.content(to, content)


def _pressed(to: Console) -> str:
    with keys() as key:  # before the question: it forgets what was typed until then
        to.print(_QUESTION, end="")
        pressed = key(None).lower()
    to.print(pressed if pressed.isprintable() else "")
    return pressed


def _comment(to: Console) -> str:
    to.print("comment (Enter: none): ", end="")
    return sys.stdin.readline().strip()
