"""What a CLI made, and the content that it becomes."""

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
    """Where a content's review stands; the numbers of the contract."""

    PENDING_REVIEW = 1
    APPROVED = 2
    REJECTED = 3

    @property
    def label(self) -> str:
        """The lower-case name that clients see."""
        return self.name.lower()


class ReviewDecision(IntEnum):
    """What a review decides; the numbers of the contract."""

    APPROVE = 1
    REJECT = 2

    @property
    def outcome(self) -> ReviewStatus:
        """Where the content stands after it."""
        return ReviewStatus.APPROVED if self is ReviewDecision.APPROVE else ReviewStatus.REJECTED


class PublishStatus(IntEnum):
    """Where an entry of the publish pool stands; the numbers of the contract."""

    PENDING = 1
    PUBLISHING = 2
    PUBLISHED = 3
    FAILED = 4

    @property
    def label(self) -> str:
        """The lower-case name that clients see."""
        return self.name.lower()


class TaskResult(NamedTuple):
    """What a worker reports with `completed`."""

    body: str
    html_body: str = ""
    images: tuple[str, ...] = ()
    quality_score: float | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """A content as a reader sees it; `body` and `html_body` are empty where it comes from a list."""

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
        """The public id of the task that made it."""
        return format_task_id(self.task_key)


@dataclass(frozen=True, slots=True)
class PoolEntry:
    """An entry of the publish pool. One whose claim ran out is pending, and still has that claim's id."""

    content_id: int
    account_id: int
    priority: int
    schedule_time: datetime | None
    status: PublishStatus
    error: str
    claim_id: str


class Publication(NamedTuple):
    """What a publisher says became of an entry; an error only where it failed."""

    status: PublishStatus
    error: str


def publication(published: bool, error: str) -> Publication:
    """Published, or failed with an error that may be empty."""
    return Publication(PublishStatus.PUBLISHED, "") if published else Publication(PublishStatus.FAILED, error)
