"""Results of creator CLIs, the contents made of them, and the publish pool."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

from scheduler_svc.domain.ids import format_task_id

TITLE_LENGTH = 255
SUMMARY_LENGTH = 200
MAX_RESULT_BYTES = 3 * 1024 * 1024


class ReviewStatus(IntEnum):
    """The state of a content's review. The numbers are the contract's."""

    PENDING_REVIEW = 1
    APPROVED = 2
    REJECTED = 3

    @property
    def label(self) -> str:
        return self.name.lower()


class ReviewDecision(IntEnum):
    """A review's decision. The numbers are the contract's."""

    APPROVE = 1
    REJECT = 2

    @property
    def outcome(self) -> ReviewStatus:
        return ReviewStatus.APPROVED if self is ReviewDecision.APPROVE else ReviewStatus.REJECTED


class PublishStatus(IntEnum):
    """The state of an entry of the publish pool. The numbers are the contract's."""

    PENDING = 1
    PUBLISHING = 2
    PUBLISHED = 3
    FAILED = 4

    @property
    def label(self) -> str:
        return self.name.lower()


class TaskResult(NamedTuple):
    body: str
    html_body: str = ""
    images: tuple[str, ...] = ()
    quality_score: float | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """A content as a reader sees it. `body` and `html_body` are empty if it comes from a list."""

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

    @property
    def task_id(self) -> str:
        return format_task_id(self.task_key)


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
