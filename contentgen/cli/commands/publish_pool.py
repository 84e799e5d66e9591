"""`contentgen pool list|update|retry|remove|attempts|claim|renew|report`. Layer: commands.

The first five are what an editor does with the pool, the others what a publisher does, by hand or in a script.
"""

from __future__ import annotations

from typing import Annotated

import typer

from contentgen.cli import cells, completion, tables, values
from contentgen.cli.command import Commands, Session
from contentgen.cli.commands.contents import ContentId, ContentIds
from contentgen.cli.lists import each, write_list
from contentgen.cli.options import All, Limit, OnlyAccount, PageToken
from contentgen.cli.output import Document, document
from contentgen.cli.values import argument, option
from contentgen.client.documents import PUBLISH_STATUS

Statuses = Annotated[
    list[str] | None,
    option(
        "Only in this state; may be given several times, or several by comma: pending, publishing, published, failed.",
        "--status",
        metavar="STATUS",
        autocompletion=completion.publish_states,
    ),
]
Since = Annotated[str | None, option("Only what is scheduled for then or later; local without a zone.", metavar="TIME")]
Until = Annotated[str | None, option("Only what is scheduled for earlier than that.", metavar="TIME")]
Priority = Annotated[int | None, option("10 first.", min=1, max=10, metavar="P")]
ScheduleTime = Annotated[str | None, option("Not before this time: ISO 8601, or +2h from now.", metavar="TIME")]
Unschedule = Annotated[bool, option("Take its time away: it may be published at once.", "--unschedule")]

command = Commands()


@command(
    "list",
    "contentgen pool list --account 1",
    "contentgen pool list --status failed",
    "contentgen pool list --since 2030-01-31 --until 2030-02-01",
    "contentgen -o jsonl pool list | jq .status | sort | uniq -c",
)
def list_(
    session: Session,
    account: OnlyAccount = None,
    status: Statuses = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    all_: All = False,
    page_token: PageToken = "",
) -> None:
    """List the publish pool in the order in which contents are claimed: highest priority first, then the oldest."""
    pages = session.client.iter_publish_pool(
        session.accounts(account),
        values.states(PUBLISH_STATUS, status or ()),
        scheduled_after=values.moment(since),
        scheduled_before=values.moment(until),
    )
    what = "entries in the publish pool"
    write_list(session, pages, tables.POOL, what, limit, all_, page_token, below=tables.pool_error)


@command(
    "update",
    "contentgen pool update 17 --priority 9",
    "contentgen pool update 17 --schedule-time 2030-01-31T08:00",
    "contentgen pool update 17 --unschedule",
)
def update(
    session: Session,
    content_id: ContentId,
    priority: Priority = None,
    schedule_time: ScheduleTime = None,
    unschedule: Unschedule = False,
) -> None:
    """Change when a content is published: only what is given, and only while nobody has claimed it."""
    if unschedule and schedule_time is not None:
        raise typer.BadParameter("--unschedule and --schedule-time contradict each other")
    if priority is None and schedule_time is None and not unschedule:
        raise typer.BadParameter("give what to change: --priority, --schedule-time or --unschedule")
    entry = session.client.update_publish_pool_entry(
        content_id, priority=priority, schedule_time=values.moment(schedule_time), unschedule=unschedule
    )
    fields = document(entry)
    due_time = cells.local_time(fields["schedule_time"])
    not_before = f"not before {due_time}" if due_time else "at once"
    session.output.text(f"content {content_id} has priority {fields['priority']}, {not_before}", fields)


@command(
    "retry",
    "contentgen pool retry 17",
    "contentgen -o jsonl pool list --status failed | jq .content_id | xargs contentgen pool retry",
)
def retry(session: Session, content_ids: ContentIds) -> int:
    """Let contents be published again that failed, with all their attempts before them.

    A content that waits for its next attempt waits no longer.
    """
    return each(session, content_ids, session.client.retry_publish, "content {content_id} is {status}")


@command("remove", "contentgen pool remove 17")
def remove(session: Session, content_ids: ContentIds) -> int:
    """Take contents out of the publish pool. They stay, approved, with what was tried before."""

    def removed(content_id: int) -> Document:
        session.client.remove_from_publish_pool(content_id)
        return {"content_id": content_id, "removed": True}

    return each(session, content_ids, removed, "content {content_id} is out of the publish pool")


@command("attempts", "contentgen pool attempts 17")
def attempts(
    session: Session, content_id: ContentId, limit: Limit = None, all_: All = False, page_token: PageToken = ""
) -> None:
    """List the attempts to publish a content, the oldest first. A claim that expired is no attempt."""
    pages, columns = session.client.iter_publish_attempts(content_id), tables.PUBLISH_ATTEMPTS
    write_list(session, pages, columns, "attempts", limit, all_, page_token, below=tables.pool_error)


Claimed = Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, metavar="N", help="How many at most.")]
Lease = Annotated[
    float | None,
    option("How long the claim holds from now, such as 60s. Default: 10m.", parser=values.seconds, metavar="DURATION"),
]
ClaimId = Annotated[str, argument("CLAIM_ID", "As `pool claim` printed it.")]
Publisher = Annotated[
    str,
    option(
        "Who publishes, for the list of attempts. With a token its name counts. Default: anonymous.", metavar="NAME"
    ),
]
Published = Annotated[bool | None, option("What became of it.", "--published/--failed")]
Error = Annotated[str, option("With --failed: why.", "--error", "-m")]
Url = Annotated[str, option("With --published: where it can be read.", metavar="URL")]


@command(
    "claim",
    "contentgen pool claim --account 1",
    "contentgen -o jsonl pool claim --limit 10 --lease 5m | jq -r .claim_id",
)
def claim(
    session: Session, account: OnlyAccount = None, limit: Claimed = 1, lease: Lease = None, publisher: Publisher = ""
) -> None:
    """Take contents that are due out of the publish pool, to publish them.

    Each is yours until its claim expires; `contentgen pool renew` gives you more time. Report the result with
    `contentgen pool report`. If a claim expires, its content is in the pool again.
    """
    claims = session.client.claim_publish_pool(session.accounts(account), limit, lease=lease, publisher=publisher)
    session.output.many(map(document, claims), tables.CLAIMS, "entries that are due")


@command("renew", "contentgen pool renew 17 5b1c3f0e", "contentgen pool renew 17 5b1c3f0e --lease 5m")
def renew(session: Session, content_id: ContentId, claim_id: ClaimId, lease: Lease = None) -> None:
    """Keep a claim for longer, because publishing takes its time."""
    entry = document(session.client.renew_publish_claim(content_id, claim_id, lease=lease))
    session.output.text(f"content {content_id} is yours until {cells.local_time(entry['claim_expire_time'])}", entry)


@command(
    "report",
    "contentgen pool report 17 5b1c3f0e --published --url https://example.org/17",
    'contentgen pool report 17 5b1c3f0e --failed --error "The site is away"',
)
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
