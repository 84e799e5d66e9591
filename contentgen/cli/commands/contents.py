"""`contentgen content list|show|delete|edit|revisions`. Layer: commands."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from contentgen.cli import completion, tables, values
from contentgen.cli.command import Session, command
from contentgen.cli.failures import Failure, Status
from contentgen.cli.lists import Listing, each
from contentgen.cli.options import All, Limit, OnlyAccount, PageToken, Yes
from contentgen.cli.output import Document, document
from contentgen.client.errors import RequestError
from contentgen.client.results import PublishStatus, ReviewStatus

ContentId = Annotated[
    int,
    typer.Argument(
        metavar="CONTENT_ID",
        min=1,
        help="The content.",
        show_default=False,
        autocompletion=completion.content_ids,
    ),
]
ContentIds = Annotated[
    list[int],
    typer.Argument(
        metavar="CONTENT_ID",
        min=1,
        help="One or more contents.",
        show_default=False,
        autocompletion=completion.content_ids,
    ),
]
Reviewer = Annotated[
    str,
    typer.Option(
        "--reviewer",
        metavar="NAME",
        help="Who does it, if the scheduler requires no tokens; else the token's name counts.",
        show_default=False,
    ),
]
OnlyReviewed = Annotated[
    ReviewStatus | None, typer.Option("--review", help="Only where the review stands so.", show_default=False)
]
OnlyInPool = Annotated[
    PublishStatus | None,
    typer.Option("--pool", help="Only where the entry in the publish pool stands so.", show_default=False),
]
Category = Annotated[str, typer.Option("--category", help="Only of this category.", show_default=False)]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label", "-l", metavar="KEY=VALUE", help="Only of tasks with this label; several times.", show_default=False
    ),
]
MinScore = Annotated[
    float | None,
    typer.Option("--min-score", metavar="SCORE", help="With this score at least.", show_default=False),
]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Only made then or later; local without a zone.", show_default=False),
]
Until = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Only made earlier than that.", show_default=False)
]
Query = Annotated[
    str,
    typer.Option(
        "--query", "-q", metavar="WORDS", help="Only with all of these words in title or topic.", show_default=False
    ),
]
OldestFirst = Annotated[bool, typer.Option("--oldest-first", help="The oldest first.", show_default=False)]
Force = Annotated[
    bool, typer.Option("--force", help="Also what a publisher has claimed, and what is published.", show_default=False)
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted.")]


def add_to(app: typer.Typer) -> None:
    """Adds the commands that list, show, delete and edit contents, and list their revisions, to `app`."""
    command(
        app,
        "list",
        "contentgen content list --review pending_review",
        "contentgen content list --account 1 --limit 20",
        'contentgen content list --query "咖啡 tea" --category news --since 2026-01-31',
    )(list_)
    command(app, "show", "contentgen content show 17", "contentgen -o json content show 17 | jq -r .html_body")(show)
    command(
        app,
        "delete",
        "contentgen content delete 17",
        "contentgen content delete --force 17 18 19",
        "contentgen content delete --dry-run 17 18 19",
    )(delete)
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


def list_(
    session: Session,
    account: OnlyAccount = None,
    review: OnlyReviewed = None,
    pool: OnlyInPool = None,
    category: Category = "",
    label: Labels = None,
    min_score: MinScore = None,
    since: Since = None,
    until: Until = None,
    query: Query = "",
    oldest_first: OldestFirst = False,
    limit: Limit = None,
    all_: All = False,
    page_token: PageToken = "",
) -> None:
    """List contents without their texts, the newest first."""
    pages = session.client.iter_contents(
        session.accounts(account),
        review,
        publish_status=pool,
        category=category,
        labels=values.pairs(label),
        min_quality_score=min_score,
        created_after=values.moment(since),
        created_before=values.moment(until),
        query=query,
        oldest_first=oldest_first,
    )
    Listing(session, pages, limit=limit, all_=all_, page_token=page_token).write(tables.CONTENTS, "contents")


def show(session: Session, content_id: ContentId) -> None:
    """Show a content with its text."""
    session.output.one(get(session, content_id), tables.content)


def get(session: Session, content_id: int) -> Document:
    """Reads a content with its text."""
    return document(session.client.get_content(content_id))


def delete(
    session: Session, content_ids: ContentIds, force: Force = False, dry_run: DryRun = False, yes: Yes = False
) -> int:
    """Delete contents for good, with their entries in the publish pool. Their tasks stay.

    On a terminal it prompts before it deletes several.
    """
    if len(content_ids) > 1 and not dry_run:
        session.confirm(f"Delete {len(content_ids)} contents for good?", yes=yes)

    def deleted(content_id: int) -> Document:
        if dry_run:
            get(session, content_id)
        else:
            session.client.delete_content(content_id, force=force)
        return {"content_id": content_id, "deleted": not dry_run}

    def line(deletion: Document) -> str:
        return f"content {deletion['content_id']} {'would be' if dry_run else 'is'} deleted"

    return each(session, content_ids, deleted, line)


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
NewCategory = Annotated[str | None, typer.Option("--category", help="The category.", show_default=False)]
CoverImage = Annotated[str | None, typer.Option("--cover-image", help="The cover image.", show_default=False)]
Etag = Annotated[
    str, typer.Option("--etag", help="Only if it has not changed since it had this etag.", show_default=False)
]
Number = Annotated[int | None, typer.Option("--number", min=1, metavar="N", help="Show this one.", show_default=False)]


def edit(
    session: Session,
    content_id: ContentId,
    title: Title = None,
    body: Body = None,
    html_body: HtmlBody = None,
    summary: Summary = None,
    category: NewCategory = None,
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
