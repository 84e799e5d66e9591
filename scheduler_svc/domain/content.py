"""Results of creator CLIs, the contents made of them, and the publish pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

from scheduler_svc.domain.asset import Asset, LeftOut, NamedAsset
from scheduler_svc.domain.ids import format_task_id

TITLE_LENGTH = 255
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
    title: str = ""
    """As the creator gave it; empty: the topic is the title."""
    usage: Mapping[str, float] | None = None
    model: str = ""
    assets: tuple[NamedAsset, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


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
    usage: Mapping[str, float]
    model: str
    assets: tuple[Asset, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def task_id(self) -> str:
        return format_task_id(self.task_key)


@dataclass(frozen=True, slots=True)
class PoolEntry:
    """An entry of the publish pool. If its claim has expired, it is pending and still has that claim's id."""

    content_id: int
    account_id: int
    priority: int
    schedule_time: datetime | None
    status: PublishStatus
    error: str
    claim_id: str


class Publication(NamedTuple):
    """A publisher's report on an entry; `error` is empty unless it failed."""

    status: PublishStatus
    error: str


def publication(published: bool, error: str) -> Publication:
    """Returns the report of a success, or of a failure with an error that may be empty."""
    return Publication(PublishStatus.PUBLISHED, "") if published else Publication(PublishStatus.FAILED, error)
