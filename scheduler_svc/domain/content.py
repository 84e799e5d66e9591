"""Results of creator CLIs, their assets, the contents made of them, and the publish pool."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import NamedTuple

from scheduler_svc.domain.ids import LeaseRef, format_task_id
from scheduler_svc.domain.lifecycle import Labelled

MAX_BYTES = 32 * 1024 * 1024
MAX_NAMED = 100
"""Assets of a content; and as many entries of what was left out."""
MAX_NAME = 200
MAX_SOURCE = 500
"""Characters of what the CLI named and was left out."""
KEPT_UNNAMED = timedelta(days=7)
"""How long an asset stays that no content names, since it was uploaded or the last content that named it was deleted.

A backup takes less, and what was uploaded is named sooner.
"""


class NamedAsset(NamedTuple):
    """A file that a result names. `sha256` is lower-case hex."""

    name: str
    sha256: str


class LeftOut(NamedTuple):
    """What a result names and is not stored, as the CLI named it, and why."""

    name: str
    reason: str


NOT_UPLOADED = "NOT_FOUND"
"""The reason of an asset that a result names and that is not stored."""
OUTSIDE = "OUTSIDE_FOLDER"
"""The reason of an asset whose name leads elsewhere."""


def stays_below(name: str) -> bool:
    """Returns whether an asset's name, as a path, leads to a place below the folder where it is put, on any system."""
    return not (name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/"))


class Media(NamedTuple):
    """What a file is, by its content. Pixels; None if it is no picture."""

    media_type: str
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class Asset:
    name: str
    sha256: str
    media_type: str
    size: int
    width: int | None
    height: int | None


# The summary of an article: the beginning of its text, without Markdown and HTML.


SUMMARY_LENGTH = 200
_EXAMINED = 1_000
"""Characters of the body that a summary may come from, marks included."""
_MARKED = re.compile(r"[#*_`~\[\]<>&|\\\n\r\t!]")
_MAY_BEGIN = frozenset("-+ =0123456789")
"""Characters with which a list, a rule or an indented text may begin."""
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_IMAGE = re.compile(r"!\[[^\[\]]*\](?:\([^()]*\)|\[[^\[\]]*\])?")
_LINK = re.compile(r"\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])")
_DEFINITION = re.compile(r"^ {0,3}\[[^\]]+\]:.*$", re.MULTILINE)
_ADDRESS = re.compile(r"<((?:https?:|mailto:)[^<>\s]+)>")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_FENCE = re.compile(r"^[ \t]*(?:```|~~~).*$", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*(?:(?:[-*_=][ \t]*){3,}|[|:\- \t]*-[|:\- \t]*)$", re.MULTILINE)
_ITEM = r"(?:#{1,6}(?=\s)|[-+*](?=\s)|\d{1,9}[.)](?=\s))"
_LINE_START = re.compile(rf"^[ \t]*(?:>[ \t]?)*{_ITEM}?[ \t]*(?:\[[ xX]\][ \t])?", re.MULTILINE)
_LINE_END = re.compile(r"[ \t]+#+[ \t]*$", re.MULTILINE)
_STARS = re.compile(r"(?<!\\)(\*{1,3})(?=\S)(.{1,200}?)(?<=\S)(?<!\\)\1")
_STRUCK = re.compile(r"~~(.{1,200}?)~~")
_CODE = re.compile(r"(`+)(.{1,200}?)\1")
_UNDERSCORES = re.compile(r"(?<![\w\\])(_{1,3})(?=\S)(.{1,200}?)(?<=\S)\1(?!\w)")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_MARKS = (
    ("<!--", _COMMENT, ""),
    ("]:", _DEFINITION, ""),
    ("![", _IMAGE, ""),
    ("](", _LINK, r"\1"),
    ("][", _LINK, r"\1"),
    ("<", _ADDRESS, r"\1"),
    ("<", _TAG, ""),
    ("```", _FENCE, ""),
    ("~~~", _FENCE, ""),
    ("", _RULE, ""),
    ("", _LINE_START, ""),
    (" #", _LINE_END, ""),
    ("*", _STARS, r"\2"),
    ("*", _STARS, r"\2"),
    ("~~", _STRUCK, r"\1"),
    ("`", _CODE, r"\2"),
    ("_", _UNDERSCORES, r"\2"),
    ("\\", _ESCAPED, r"\1"),
)
"""In order: a text that a mark contains, the mark, and what stays of it."""


def summary_of(body: str) -> str:
    """Returns the first characters of the text that a reader of the rendered article sees, on one line."""
    begin = body[:SUMMARY_LENGTH]
    if begin[:1] not in _MAY_BEGIN and not _MARKED.search(begin):
        return begin
    return _text(body[:_EXAMINED])[:SUMMARY_LENGTH].rstrip()


def _text(markdown: str) -> str:
    for hint, pattern, kept in _MARKS:
        if hint in markdown:
            markdown = pattern.sub(kept, markdown)
    return " ".join(html.unescape(markdown).replace(" | ", " ").replace("\0", "").split())


# Results, contents and the publish pool.


TITLE_LENGTH = 255
MAX_HELD_REVIEWS = 100
"""Reviews that one reviewer holds at once: a claim reads past all that is held."""
MAX_RESULT_BYTES = 3 * 1024 * 1024
MAX_COMMENTS = 1_000
"""Comments of a content."""


class ReviewStatus(Labelled):
    """The state of a content's review. The numbers are the contract's."""

    PENDING_REVIEW = 1
    APPROVED = 2
    REJECTED = 3


class ReviewDecision(IntEnum):
    """A review's decision. The numbers are the contract's."""

    APPROVE = 1
    REJECT = 2

    @property
    def outcome(self) -> ReviewStatus:
        return ReviewStatus.APPROVED if self is ReviewDecision.APPROVE else ReviewStatus.REJECTED


class PublishStatus(Labelled):
    """The state of an entry of the publish pool. The numbers are the contract's."""

    PENDING = 1
    PUBLISHING = 2
    PUBLISHED = 3
    FAILED = 4


class TaskResult(NamedTuple):
    body: str
    html_body: str = ""
    images: tuple[str, ...] = ()
    quality_score: float | None = None
    title: str = ""
    """As the creator gave it; empty: the topic is the title."""
    usage: Mapping[str, float] | None = None
    model: str = ""
    assets: tuple[NamedAsset, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


class CompletedTask(NamedTuple):
    """A task that has just completed by this lease, with the fields that its content and its pool entry take over."""

    ref: LeaseRef
    content_id: int
    account_id: int
    title: str
    category: str
    priority: int
    schedule_time: datetime | None
    auto_approve: bool
    seconds: float
    """How long the attempt took."""
    worker_id: str
    stage: int
    """The number of its status until then; pending if its lease had expired."""


class ContentTexts(NamedTuple):
    """What an edit may change."""

    title: str
    body: str
    html_body: str
    summary: str
    category: str
    cover_image: str

    @property
    def size(self) -> int:
        """Bytes of body and HTML together."""
        return len(self.body.encode()) + len(self.html_body.encode())


class ContentEdit(NamedTuple):
    """New texts of a content; None keeps what is there."""

    title: str | None = None
    body: str | None = None
    html_body: str | None = None
    summary: str | None = None
    category: str | None = None
    cover_image: str | None = None

    def of(self, texts: ContentTexts) -> ContentTexts:
        """Returns the texts after the edit: what is derived from a body that changes follows it."""
        new = {name: value for name, value in self._asdict().items() if value is not None}
        edited = texts._replace(**new)
        if edited.body == texts.body:
            return edited
        if self.html_body is None:
            edited = edited._replace(html_body="")
        if self.summary is None and texts.summary == summary_of(texts.body):
            edited = edited._replace(summary=summary_of(edited.body))
        return edited


@dataclass(frozen=True, slots=True)
class ContentFilter:
    """Contents for which all of these hold; None and empty: any."""

    review_status: ReviewStatus | None = None
    publish_status: PublishStatus | None = None
    category: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    min_quality_score: float | None = None
    created_after: datetime | None = None
    """Then or later."""
    created_before: datetime | None = None
    """Earlier than that."""
    words: tuple[str, ...] = ()
    """Each of them is in the title or in the topic."""
    search_bodies: bool = False
    """Or in the body, of the newest ones."""
    assignee: str = ""


class Review(NamedTuple):
    """A reviewer's decision on a content, as of `etag`; empty: as of now."""

    content_id: int
    decision: ReviewDecision
    reviewer: str
    comment: str = ""
    etag: str = ""
    schedule_time: datetime | None = None
    """Of an approval: not to be published before. None: the task's."""


@dataclass(frozen=True, slots=True)
class ContentRevision:
    """The texts of a content after an edit; `author` is empty if they are the creator's."""

    number: int
    author: str
    create_time: datetime
    texts: ContentTexts
    asset: str = ""
    """The file that was uploaded or removed then."""


@dataclass(frozen=True, slots=True)
class Comment:
    """What an editor says of a content."""

    number: int
    author: str
    create_time: datetime
    text: str


@dataclass(frozen=True, slots=True)
class ReviewEvent:
    """A decision; PENDING_REVIEW: it was taken back. None: an assignment."""

    number: int
    event_time: datetime
    actor: str
    review_status: ReviewStatus | None
    comment: str = ""
    assignee: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """A content as a reader sees it. `body` and `html_body` are empty if it comes from a list.

    A claim of its review that has expired is not there. `publish_status` is None if it is not in the pool.
    """

    content_id: int
    account_id: int
    task_key: int
    title: str
    body: str
    html_body: str
    summary: str
    category: str
    images: tuple[str, ...]
    word_count: int
    quality_score: float | None
    review_status: ReviewStatus
    review_comment: str
    create_time: datetime
    cover_image: str
    revision: int
    etag: str
    reviewer: str
    review_time: datetime | None
    review_holder: str
    review_claim_expire_time: datetime | None
    publish_status: PublishStatus | None
    superseded_by_content_id: int
    usage: Mapping[str, float]
    model: str
    assignee: str
    assigner: str
    assign_time: datetime | None
    assets: tuple[Asset, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def task_id(self) -> str:
        return format_task_id(self.task_key)

    @property
    def texts(self) -> ContentTexts:
        return ContentTexts(self.title, self.body, self.html_body, self.summary, self.category, self.cover_image)


@dataclass(frozen=True, slots=True)
class PoolEntry:
    """An entry of the publish pool. If its claim has expired, it is pending and still has that claim's id.

    `publisher` is empty and `claim_expire_time` None unless a claim holds it. `next_attempt_time` is set while it waits
    for another attempt, pending.
    """

    content_id: int
    account_id: int
    priority: int
    schedule_time: datetime | None
    status: PublishStatus
    error: str
    claim_id: str
    claim_expire_time: datetime | None
    attempt_count: int
    next_attempt_time: datetime | None
    published_url: str
    publisher: str
    title: str


class ContentRow(NamedTuple):
    """An insert into `contents`; images and usage as JSON."""

    content_id: int
    account_id: int
    task_key: int
    title: str
    body: str
    html_body: str
    summary: str
    category: str
    images: str
    word_count: int
    quality_score: float | None
    review_status: int
    usage: str | None
    model: str | None
