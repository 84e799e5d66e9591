"""`contentgen content list|show|delete|edit|revisions|restore|comment|comments`. Layer: commands."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from contentgen.cli import completion, tables, values
from contentgen.cli.command import Commands, Session
from contentgen.cli.failures import Failure, Status
from contentgen.cli.lists import each, write_list
from contentgen.cli.options import All, Limit, OnlyAccount, PageToken, Yes, given_values, stands_for
from contentgen.cli.output import Document, document
from contentgen.cli.values import argument, option
from contentgen.client.errors import RequestError
from contentgen.client.results import PublishStatus, ReviewStatus

ContentId = Annotated[int, argument("CONTENT_ID", "The content.", min=1, autocompletion=completion.content_ids)]
ContentIds = Annotated[
    list[int], argument("CONTENT_ID", "One or more contents.", min=1, autocompletion=completion.content_ids)
]
Reviewer = Annotated[
    str, option("Who does it, if the scheduler requires no tokens; else the token's name counts.", metavar="NAME")
]
OnlyReviewed = Annotated[ReviewStatus | None, option("Only where the review stands so.")]
OnlyInPool = Annotated[PublishStatus | None, option("Only where the entry in the publish pool stands so.")]
Category = Annotated[str, option("Only of this category.")]
Labels = Annotated[
    list[str] | None, option("Only of tasks with this label; several times.", "--label", "-l", metavar="KEY=VALUE")
]
MinScore = Annotated[float | None, option("With this score at least.", metavar="SCORE")]
Since = Annotated[str | None, option("Only made then or later; local without a zone.", metavar="TIME")]
Until = Annotated[str | None, option("Only made earlier than that.", metavar="TIME")]
Query = Annotated[str, option("Only with all of these words in title or topic.", "--query", "-q", metavar="WORDS")]
Bodies = Annotated[bool, option("Search the texts of the newest 500, too.", "--bodies")]
Assignee = Annotated[str, option("Only what this one is to review.", metavar="NAME")]
OldestFirst = Annotated[bool, option("The oldest first.", "--oldest-first")]
Force = Annotated[bool, option("Also what a publisher has claimed, and what is published.", "--force")]
DryRun = Annotated[bool, option("Only show what would be deleted.", "--dry-run")]

command = Commands()


@command(
    "list",
    "contentgen content list --review pending_review",
    "contentgen content list --account 1 --limit 20",
    'contentgen content list --query "咖啡 tea" --category news --since 2026-01-31',
)
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
    bodies: Bodies = False,
    assignee: Assignee = "",
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
        search_bodies=bodies,
        assignee=assignee,
        oldest_first=oldest_first,
    )
    write_list(session, pages, tables.CONTENTS, "contents", limit, all_, page_token)


@command("show", "contentgen content show 17", "contentgen -o json content show 17 | jq -r .html_body")
def show(session: Session, content_id: ContentId) -> None:
    """Show a content with its text."""
    session.output.one(get(session, content_id), tables.content)


def get(session: Session, content_id: int) -> Document:
    return document(session.client.get_content(content_id))


@command(
    "delete",
    "contentgen content delete 17",
    "contentgen content delete --force 17 18 19",
    "contentgen content delete --dry-run 17 18 19",
)
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

    verb = "would be" if dry_run else "is"
    return each(session, content_ids, deleted, "content {content_id} " + f"{verb} deleted")


TEXTS = {
    "title": Annotated[str | None, option("The title.")],
    "body": Annotated[typer.FileText | None, option("The text; - reads stdin.", metavar="FILE", encoding="utf-8")],
    "html_body": Annotated[
        typer.FileText | None,
        option("The same as HTML. Default: none after a new text.", metavar="FILE", encoding="utf-8"),
    ],
    "summary": Annotated[str | None, option("What lists show of it.")],
    "category": Annotated[str | None, option("The category.")],
    "cover_image": Annotated[str | None, option("The cover image.")],
}
Etag = Annotated[str, option("Only if it has not changed since it had this etag.")]
Revision = Annotated[int, argument("REVISION", "The number of the revision.", min=1)]
Text = Annotated[str, argument("TEXT", "What to say.")]
Number = Annotated[int | None, option("Show this one.", min=1, metavar="N")]


@command(
    "edit",
    "contentgen content edit 17",
    'contentgen content edit 17 --title "A better title" --category news',
    "contentgen content edit 17 --body article.md",
)
@stands_for("texts", TEXTS, given_values)
def edit(
    session: Session, content_id: ContentId, *, texts: Mapping[str, Any], etag: Etag = "", reviewer: Reviewer = ""
) -> None:
    """Change the texts of a content: only what is given, as a new revision.

    If nothing is given, the text is opened in the editor on a terminal (VISUAL, EDITOR).
    """
    changes = {name: text if isinstance(text, str) else text.read() for name, text in texts.items()}
    if changes:
        _save(session, content_id, changes, etag, reviewer)
    elif sys.stdin.isatty() and session.output.out.is_terminal:
        _edit_body(session, content_id, reviewer)
    else:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in TEXTS)
        raise typer.BadParameter(f"give what to change: {flags}; the editor is for a terminal")


def _edit_body(session: Session, content_id: int, reviewer: str) -> None:
    """Lets an editor change the body. If that can't be saved, the edited text stays in its file."""
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
            _save(session, content_id, {"body": body}, content["etag"], reviewer)
    except RequestError as error:
        raise Failure(session.failed(error), f"the edited text is in {path}") from error
    except (OSError, subprocess.CalledProcessError, UnicodeDecodeError) as error:
        raise Failure(Status.FAILED, f"{error}; the text is in {path}") from error
    path.unlink()


def _save(session: Session, content_id: int, changes: dict[str, str], etag: str, reviewer: str) -> None:
    content = document(session.client.update_content(content_id, **changes, etag=etag, reviewer=reviewer))
    session.output.text(f"content {content_id} is at revision {content['revision']}", content)


@command("revisions", "contentgen content revisions 17", "contentgen content revisions 17 --number 1")
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


@command("restore", "contentgen content restore 17 1")
def restore(session: Session, content_id: ContentId, revision: Revision, etag: Etag = "") -> None:
    """Give a content the texts of one of its revisions, as a new revision."""
    content = document(session.client.restore_content_revision(content_id, revision, etag=etag))
    session.output.text(f"content {content_id} is at revision {content['revision']}", content)


@command("comment", 'contentgen content comment 17 "Is the price still right?"')
def comment(session: Session, content_id: ContentId, text: Text) -> None:
    """Add a comment to a content, for other editors."""
    added = document(session.client.add_comment(content_id, text))
    session.output.text(f"content {content_id} has comment {added['number']}", added)


@command("comments", "contentgen content comments 17")
def comments(session: Session, content_id: ContentId) -> None:
    """List the comments of a content, the oldest first."""
    session.output.many(map(document, session.client.iter_comments(content_id)), tables.COMMENTS, "comments")
