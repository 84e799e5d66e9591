"""`contentgen content list|show|delete`. Layer: commands."""

from __future__ import annotations

from typing import Annotated

import typer

from contentgen.cli import completion, tables, values
from contentgen.cli.command import Session, command
from contentgen.cli.commands.each import each
from contentgen.cli.documents import Document, document
from contentgen.cli.lists import Listing
from contentgen.cli.options import All, Limit, OnlyAccount, PageToken, Yes
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
    """Adds the commands that list, show and delete contents to `app`."""
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
