"""What happened to a content, and who did it: texts, files, comments, the last decision and assignment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from contentgen import Comment, Content, ContentRevision


class Entry(NamedTuple):
    """`what`: `creator`, `text`, `file`, `comment`, `assigned`, or the state of the review that was decided."""

    created_at: str
    author: str | None
    what: str
    text: str | None
    revision: ContentRevision | None = None


def entries_of(content: Content, revisions: Sequence[ContentRevision], comments: Sequence[Comment]) -> list[Entry]:
    """Returns all that is known, the newest first."""
    entries = [_of_revision(revision) for revision in revisions]
    entries += [Entry(comment["created_at"], comment["author"], "comment", comment["text"]) for comment in comments]
    if content["reviewed_at"]:
        decision = content["review_status"], content["review_comment"]
        entries.append(Entry(content["reviewed_at"], content["reviewer"], *decision))
    if content["assigned_at"]:
        entries.append(Entry(content["assigned_at"], content["assigner"], "assigned", content["assignee"]))
    return sorted(entries, key=lambda entry: datetime.fromisoformat(entry.created_at), reverse=True)


def _of_revision(revision: ContentRevision) -> Entry:
    author, file = revision["author"], revision["asset"]
    what = "file" if file else "text" if author else "creator"
    return Entry(revision["created_at"], author, what, file or revision["title"], revision)
