"""`contentgen content edit|revisions`: change the texts of a content, and see who changed them. Layer: commands."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from contentgen.cli import tables
from contentgen.cli.command import Session, command
from contentgen.cli.commands.contents import ContentId, Reviewer, get
from contentgen.cli.documents import Document, document
from contentgen.cli.failures import Failure, Status
from contentgen.client.errors import RequestError

Title = Annotated[str | None, typer.Option("--title", help="The title.", show_default=False)]
Body = Annotated[
    typer.FileText | None,
    typer.Option("--body", metavar="FILE", encoding="utf-8", help="The text; - reads stdin.", show_default=False),
]
HtmlBody = Annotated[
    typer.FileText | None,
    typer.Option(
        "--html-body",
        metavar="FILE",
        encoding="utf-8",
        help="The same as HTML. Default: none after a new text.",
        show_default=False,
    ),
]
Summary = Annotated[str | None, typer.Option("--summary", help="What lists show of it.", show_default=False)]
Category = Annotated[str | None, typer.Option("--category", help="The category.", show_default=False)]
CoverImage = Annotated[str | None, typer.Option("--cover-image", help="The cover image.", show_default=False)]
Etag = Annotated[
    str, typer.Option("--etag", help="Only if it has not changed since it had this etag.", show_default=False)
]
Number = Annotated[int | None, typer.Option("--number", min=1, metavar="N", help="Show this one.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Adds the commands that edit a content and list its revisions to `app`."""
    command(
        app,
        "edit",
        "contentgen content edit 17",
        'contentgen content edit 17 --title "A better title" --category news',
        "contentgen content edit 17 --body article.md",
    )(edit)
    command(
        app,
        "revisions",
        "contentgen content revisions 17",
        "contentgen content revisions 17 --number 1",
    )(revisions)


def edit(
    session: Session,
    content_id: ContentId,
    title: Title = None,
    body: Body = None,
    html_body: HtmlBody = None,
    summary: Summary = None,
    category: Category = None,
    cover_image: CoverImage = None,
    etag: Etag = "",
    reviewer: Reviewer = "",
) -> None:
    """Change the texts of a content: only what is given, as a new revision.

    If nothing is given, the text is opened in the editor on a terminal (VISUAL, EDITOR).
    """
    texts: dict[str, str | None] = {
        "title": title,
        "body": None if body is None else body.read(),
        "html_body": None if html_body is None else html_body.read(),
        "summary": summary,
        "category": category,
        "cover_image": cover_image,
    }
    changes = {name: text for name, text in texts.items() if text is not None}
    if changes:
        _show(session, _update(session, content_id, changes, etag, reviewer))
    elif sys.stdin.isatty() and session.output.out.is_terminal:
        _edit_body(session, content_id, reviewer)
    else:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in texts)
        raise typer.BadParameter(f"give what to change: {flags}; the editor is for a terminal")


def _edit_body(session: Session, content_id: int, reviewer: str) -> None:
    """If it can't be saved, the edited text stays in its file."""
    content = get(session, content_id)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", newline="", prefix=f"content-{content_id}-", suffix=".md", delete=False
    ) as file:
        file.write(content["body"])
    path = Path(file.name)
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    try:
        subprocess.run([*editor, path], check=True)
        body = path.read_bytes().decode("utf-8")
        if body == content["body"]:
            session.output.note("nothing is changed")
        else:
            _show(session, _update(session, content_id, {"body": body}, content["etag"], reviewer))
    except RequestError as error:
        raise Failure(session.failed(error), f"the edited text is in {path}") from error
    except (OSError, subprocess.CalledProcessError, UnicodeDecodeError) as error:
        raise Failure(Status.FAILED, f"{error}; the text is in {path}") from error
    path.unlink()


def _update(session: Session, content_id: int, changes: dict[str, str], etag: str, reviewer: str) -> Document:
    return document(session.client.update_content(content_id, **changes, etag=etag, reviewer=reviewer))


def _show(session: Session, content: Document) -> None:
    session.output.text(f"content {content['content_id']} is at revision {content['revision']}", content)


def revisions(session: Session, content_id: ContentId, number: Number = None) -> None:
    """List the revisions of a content, the oldest first; with --number, show the text of one.

    The first is the creator's text. Kept are that one and the newest 99.
    """
    documents = map(document, session.client.iter_content_revisions(content_id))
    if number is None:
        session.output.many(documents, tables.REVISIONS, "revisions")
        return
    revision = next((candidate for candidate in documents if candidate["number"] == number), None)
    if revision is None:
        raise Failure(Status.NOT_FOUND, f"content {content_id} has no revision {number}")
    session.output.one(revision, tables.revision)
