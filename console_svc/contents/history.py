"""What happened to a content, and who did it: texts, files, comments, decisions and assignments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from contentgen import Comment, Content, ContentRevision, ReviewEvent


class Entry(NamedTuple):
    """`what`: `creator`, `text`, `file`, `comment`, `assigned`, or the state of the review that was decided."""

    created_at: str
    author: str | None
    what: str
    text: str | None
    revision: ContentRevision | None = None


def entries_of(
    content: Content,
    revisions: Sequence[ContentRevision],
    comments: Sequence[Comment],
    events: Sequence[ReviewEvent],
) -> list[Entry]:
    """Returns all that is known, the newest first. What was decided before it was imported is no event."""
    entries = [_of_revision(revision) for revision in revisions]
    entries += [Entry(comment["created_at"], comment["author"], "comment", comment["text"]) for comment in comments]
    entries += map(_of_event, events)
    if content["reviewed_at"] and not any(event["event_time"] == content["reviewed_at"] for event in events):
        decision = content["review_status"], content["review_comment"]
        entries.append(Entry(content["reviewed_at"], content["reviewer"], *decision))
    return sorted(entries, key=lambda entry: datetime.fromisoformat(entry.created_at), reverse=True)


def _of_event(event: ReviewEvent) -> Entry:
    what, text = event["review_status"], event["comment"]
    return Entry(event["event_time"], event["actor"], what or "assigned", text if what else event["assignee"])


def _of_revision(revision: ContentRevision) -> Entry:
    author, file = revision["author"], revision["asset"]
    what = "file" if file else "text" if author else "creator"
    return Entry(revision["created_at"], author, what, file or revision["title"], revision)
