"""`contentgen pool list|claim|report`: what a publisher does, by hand or in a script. Layer: commands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from contentgen.cli import tables, values
from contentgen.cli.command import Session, command
from contentgen.cli.commands.contents import ContentId
from contentgen.cli.documents import document
from contentgen.cli.lists import Listing
from contentgen.cli.options import All, Limit, OnlyAccount, PageToken
from contentgen.client import fields
from contentgen.v1 import content_service_pb2 as pb

Claimed = Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, metavar="N", help="How many at most.")]
Lease = Annotated[
    float | None,
    typer.Option(
        "--lease",
        parser=values.seconds,
        metavar="DURATION",
        help="How long the claim holds, such as 60s. Default: 10m.",
        show_default=False,
    ),
]
ClaimId = Annotated[str, typer.Argument(metavar="CLAIM_ID", help="As `pool claim` printed it.", show_default=False)]
Published = Annotated[bool | None, typer.Option("--published/--failed", help="What became of it.", show_default=False)]
Error = Annotated[str, typer.Option("--error", "-m", help="With --failed: why.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """All of them."""
    command(
        app, "list", "contentgen pool list --account 1", "contentgen -o jsonl pool list | jq .status | sort | uniq -c"
    )(list_)
    command(
        app,
        "claim",
        "contentgen pool claim --account 1",
        "contentgen -o jsonl pool claim --limit 10 --lease 5m | jq -r .claim_id",
    )(claim)
    command(
        app,
        "report",
        "contentgen pool report 17 5b1c3f0e --published",
        'contentgen pool report 17 5b1c3f0e --failed --error "The site is away"',
    )(report)


def list_(
    session: Session,
    account: OnlyAccount = None,
    limit: Limit = None,
    all_: All = False,
    page_token: PageToken = "",
) -> None:
    """List the publish pool, the newest content first."""
    request = pb.ListPublishPoolRequest(account_id=session.accounts(account))
    connection = session.connection

    def fetch(size: int, token: str) -> tuple[Iterable[pb.PublishPoolEntry], str]:
        request.page_size, request.page_token = size, token
        page = connection.call(connection.stubs.contents.ListPublishPool, request)
        return page.entries, page.next_page_token

    listing = Listing(session, fetch, limit=limit, all_=all_, page_token=page_token)
    listing.write(tables.POOL, "entries in the publish pool", tables.pool_error)


def claim(session: Session, account: OnlyAccount = None, limit: Claimed = 1, lease: Lease = None) -> None:
    """Take contents that are due out of the publish pool, to publish them.

    Each is yours until its claim expires; report the result with `contentgen pool report`. If a claim expires, its
    content is in the pool again.
    """
    request = pb.ClaimPublishPoolRequest(
        account_id=session.accounts(account), limit=limit, lease=fields.duration(lease)
    )
    connection = session.connection
    claimed = connection.call(connection.stubs.contents.ClaimPublishPool, request).entries
    session.output.many(map(document, claimed), tables.CLAIMS, "entries that are due")


def report(
    session: Session, content_id: ContentId, claim_id: ClaimId, published: Published = None, error: Error = ""
) -> None:
    """Say what became of a content that was claimed: it is published, or it failed."""
    if published is None:
        raise typer.BadParameter("give --published or --failed")
    if published and error:
        raise typer.BadParameter("--error goes with --failed")
    request = pb.ReportPublishedRequest(content_id=content_id, claim_id=claim_id, published=published, error=error)
    connection = session.connection
    entry = document(connection.call(connection.stubs.contents.ReportPublished, request).entry)
    session.output.text(f"content {content_id} is {entry['status']}", entry)
