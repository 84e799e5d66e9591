"""`contentgen content review|reopen|assign|claim|release|regenerate`: reviews, and what comes before and after them.

Decisions are given, or made one by one on a terminal. Layer: commands.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console

from contentgen.cli import completion, tables, values
from contentgen.cli.command import Commands, Session
from contentgen.cli.commands.contents import ContentId, ContentIds, Reviewer, get
from contentgen.cli.failures import Failure, Status
from contentgen.cli.keys import keys
from contentgen.cli.lists import each
from contentgen.cli.options import OnlyAccount
from contentgen.cli.output import Document, document
from contentgen.cli.values import argument, option
from contentgen.client.errors import RequestError

SomeContents = Annotated[
    list[int] | None,
    argument(
        "CONTENT_ID", "The contents. Default: all that wait for a review.", min=1, autocompletion=completion.content_ids
    ),
]
OneContent = Annotated[
    int | None,
    argument("[CONTENT_ID]", "The content. Default: the oldest.", min=1, autocompletion=completion.content_ids),
]
Decision = Annotated[bool | None, option("Into the publish pool, or not to be published.", "--approve/--reject")]
Comment = Annotated[str, option("What the reviewer says.", "--comment", "-m")]
ScheduleTime = Annotated[
    str | None,
    option("Not to be published before: ISO 8601, or +2h from now. Default: the task's time.", metavar="TIME"),
]
Together = Annotated[bool, option("All of them, up to 100, or none.", "--together")]
Feedback = Annotated[str, option("What to do better.", "--feedback", "-m", metavar="TEXT")]
Lease = Annotated[
    float | None,
    option("How long it is kept from others, such as 5m. Default: 10m.", parser=values.seconds, metavar="DURATION"),
]

AssignedTo = Annotated[str, option('Who; "" is nobody.', "--to", metavar="NAME")]

_QUESTION = "(a)pprove  (r)eject  (s)kip  (v)iew again  (q)uit: "
_WITHOUT_LESS_OPTIONS = "-FRX"
"""Of `less`: a short article is printed, and stays on the screen."""


command = Commands()


@command(
    "review",
    "contentgen content review 17 18 --approve",
    'contentgen content review 17 --reject --comment "Two facts are wrong"',
    "contentgen content review 17 18 19 --approve --together",
    "contentgen content review --account 1",
)
def review(
    session: Session,
    content_ids: SomeContents = None,
    approve: Decision = None,
    comment: Comment = "",
    together: Together = False,
    schedule_time: ScheduleTime = None,
    reviewer: Reviewer = "",
    account: OnlyAccount = None,
) -> int:
    """Approve or reject contents that wait for their review.

    Without a decision it shows them one by one on a terminal, in the pager (PAGER, by default less, which q ends), and
    takes a key for each. `contentgen content reopen` takes a decision back.
    """
    if approve is None:
        if not (sys.stdin.isatty() and session.output.out.is_terminal and session.output.tables):
            raise typer.BadParameter("give --approve or --reject; one by one is for a terminal")
        waiting = session.client.iter_contents(session.accounts(account), "pending_review")
        return _one_by_one(session, content_ids or (content.content_id for content in waiting), comment, reviewer)
    if not content_ids:
        raise typer.BadParameter("give the contents to decide on")
    decision: dict[str, Any] = {"approve": approve, "comment": comment, "reviewer": reviewer}
    decision["scheduled_at"] = values.moment(schedule_time)
    if not together:
        return each(session, content_ids, partial(session.client.review_content, **decision), _line)
    reviews = ({"content_id": content_id, **decision} for content_id in dict.fromkeys(content_ids))
    contents = {content.content_id: content for content in session.client.review_contents(reviews)}
    return each(session, list(contents), contents.__getitem__, _line)


def _line(content: Document) -> str:
    in_pool = " and in the publish pool" if content["review_status"] == "approved" else ""
    return f"content {content['content_id']} is {content['review_status']}{in_pool}"


@command("reopen", "contentgen content reopen 17", "contentgen content reopen 17 18")
def reopen(session: Session, content_ids: ContentIds) -> int:
    """Take decisions back: the contents wait for their review again, and leave the publish pool.

    Not what a publisher has claimed, nor what is published.
    """
    return each(session, content_ids, session.client.reopen_content, "content {content_id} waits for its review")


@command("assign", "contentgen content assign 17 18 --to anna", 'contentgen content assign 17 --to ""')
def assign(session: Session, content_ids: ContentIds, to: AssignedTo) -> int:
    """Say who is to review contents. It bars nobody else from that."""
    call = partial(session.client.assign_review, assignee=to)
    return each(session, content_ids, call, lambda content: f"content {content['content_id']} is for {to or 'nobody'}")


@command(
    "claim", "contentgen content claim", "contentgen -o json content claim --account 1 --lease 5m | jq -r .content_id"
)
def claim(
    session: Session,
    content_id: OneContent = None,
    account: OnlyAccount = None,
    lease: Lease = None,
    reviewer: Reviewer = "",
) -> None:
    """Take the oldest content that waits for its review, and that nobody else has taken; or a certain one.

    Others get different ones until the lease expires, or `contentgen content release` ends it. What you
    hold already you hold for another lease.
    """
    content = session.client.claim_review(
        session.accounts(account), content_id=content_id, lease=lease, reviewer=reviewer
    )
    if content is None:
        reason = f"content {content_id} is decided, or somebody else holds it"
        raise Failure(Status.NOT_FOUND, reason if content_id else "no content waits for a review that nobody holds")
    session.output.one(document(content), tables.content)


@command("regenerate", 'contentgen content regenerate 17 --feedback "Shorter, with prices"')
def regenerate(session: Session, content_id: ContentId, feedback: Feedback) -> None:
    """Submit a task that writes a content again, with the feedback behind its requirements.

    The new content waits for a review. Once it is approved, the old one is rejected, unless it is claimed or published.
    """
    task = document(session.client.regenerate_content(content_id, feedback))
    session.output.text(f"{task['task_id']} writes content {content_id} again", task)


@command("release", "contentgen content release 17")
def release(session: Session, content_ids: ContentIds) -> int:
    """End claims of reviews: the contents can be given to others. An operator ends anybody's."""
    return each(session, content_ids, session.client.release_review, "nobody holds content {content_id}")


def _one_by_one(session: Session, content_ids: Sequence[int] | Iterator[int], comment: str, reviewer: str) -> int:
    """Asks about each content. The exit status is that of the first refusal."""
    os.environ.setdefault("LESS", _WITHOUT_LESS_OPTIONS)
    status, count = Status.DONE, 0
    for content_id in content_ids:
        count += 1
        try:
            if not _ask(session, get(session, content_id), comment, reviewer):
                break
        except RequestError as error:
            status = status or session.failed(error)
    if not count:
        session.output.note("no content waits for a review")
    return status


def _ask(session: Session, content: Document, comment: str, reviewer: str) -> bool:
    """Shows a content and does what the key says; False: no more of them."""
    console = session.output.out
    _view(console, content)
    while (key := _pressed(console)) != "q":
        if key == "v":
            _view(console, content)
        elif key == "s":
            return True
        elif key in {"a", "r"}:
            reviewed_content = session.client.review_content(
                content["content_id"],
                approve=key == "a",
                comment=comment or _comment(console),
                etag=content["etag"],
                reviewer=reviewer,
            )
            console.print(_line(document(reviewed_content)))
            return True
    return False


def _view(console: Console, content: Document) -> None:
    with console.pager(styles=True):
        tables.content(console, content)


def _pressed(console: Console) -> str:
    with keys() as read_key:  # before the question: it forgets what was typed until then
        console.print(_QUESTION, end="")
        letter = read_key(None).lower()
    console.print(letter if letter.isprintable() else "")
    return letter


def _comment(console: Console) -> str:
    console.print("comment (Enter: none): ", end="")
    return sys.stdin.readline().strip()
