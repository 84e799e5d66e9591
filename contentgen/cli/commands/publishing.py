"""`contentgen pool claim|renew|report`: what a publisher does, by hand or in a script. Layer: commands."""

from __future__ import annotations

from typing import Annotated

import typer

from contentgen.cli import cells, tables, values
from contentgen.cli.command import Session, command
from contentgen.cli.commands.contents import ContentId
from contentgen.cli.documents import document
from contentgen.cli.options import OnlyAccount

Claimed = Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, metavar="N", help="How many at most.")]
Lease = Annotated[
    float | None,
    typer.Option(
        "--lease",
        parser=values.seconds,
        metavar="DURATION",
        help="How long the claim holds from now, such as 60s. Default: 10m.",
        show_default=False,
    ),
]
ClaimId = Annotated[str, typer.Argument(metavar="CLAIM_ID", help="As `pool claim` printed it.", show_default=False)]
Publisher = Annotated[
    str,
    typer.Option(
        "--publisher",
        metavar="NAME",
        help="Who publishes, for the list of attempts. With a token its name counts. Default: anonymous.",
        show_default=False,
    ),
]
Published = Annotated[bool | None, typer.Option("--published/--failed", help="What became of it.", show_default=False)]
Error = Annotated[str, typer.Option("--error", "-m", help="With --failed: why.", show_default=False)]
Url = Annotated[
    str, typer.Option("--url", metavar="URL", help="With --published: where it can be read.", show_default=False)
]


def add_to(app: typer.Typer) -> None:
    """Adds the commands that publishers use on the publish pool to `app`."""
    command(
        app,
        "claim",
        "contentgen pool claim --account 1",
        "contentgen -o jsonl pool claim --limit 10 --lease 5m | jq -r .claim_id",
    )(claim)
    command(app, "renew", "contentgen pool renew 17 5b1c3f0e", "contentgen pool renew 17 5b1c3f0e --lease 5m")(renew)
    command(
        app,
        "report",
        "contentgen pool report 17 5b1c3f0e --published --url https://example.org/17",
        'contentgen pool report 17 5b1c3f0e --failed --error "The site is away"',
    )(report)


def claim(
    session: Session,
    account: OnlyAccount = None,
    limit: Claimed = 1,
    lease: Lease = None,
    publisher: Publisher = "",
) -> None:
    """Take contents that are due out of the publish pool, to publish them.

    Each is yours until its claim expires; `contentgen pool renew` gives you more time. Report the result with
    `contentgen pool report`. If a claim expires, its content is in the pool again.
    """
    claims = session.client.claim_publish_pool(session.accounts(account), limit, lease=lease, publisher=publisher)
    session.output.many(map(document, claims), tables.CLAIMS, "entries that are due")


def renew(session: Session, content_id: ContentId, claim_id: ClaimId, lease: Lease = None) -> None:
    """Keep a claim for longer, because publishing takes its time."""
    entry = document(session.client.renew_publish_claim(content_id, claim_id, lease=lease))
    session.output.text(f"content {content_id} is yours until {cells.local_time(entry['claim_expire_time'])}", entry)


def report(
    session: Session,
    content_id: ContentId,
    claim_id: ClaimId,
    published: Published = None,
    error: Error = "",
    url: Url = "",
) -> None:
    """Say what became of a content that was claimed: it is published, or it failed.

    After a failure it is in the pool again, and due after a while; once its attempts are used up it stays failed, until
    `contentgen pool retry`.
    """
    if published is None:
        raise typer.BadParameter("give --published or --failed")
    if published and error:
        raise typer.BadParameter("--error goes with --failed")
    if url and not published:
        raise typer.BadParameter("--url goes with --published")
    failure = None if published else error
    entry = document(session.client.report_published(content_id, claim_id, error=failure, url=url))
    due_time = entry["next_attempt_time"]
    session.output.text(
        f"content {content_id} is {entry['status']}"
        + (f", and due again at {cells.local_time(due_time)}" if due_time else ""),
        entry,
    )
