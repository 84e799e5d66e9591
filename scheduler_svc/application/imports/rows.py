"""The rows that an import inserts. Their fields are in the order of the SQL's columns."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class ImportedAccountRow(NamedTuple):
    account_id: int
    name: str
    active: bool
    create_time: datetime | None


class ImportedTaskRow(NamedTuple):
    """An insert into `tasks`, of a task that may have ended in the old application; `error` as JSON."""

    task_key: int
    account_id: int
    status: int
    priority: int
    auto_approve: bool
    auto_retry: bool
    max_retries: int
    retry_count: int
    timeout_ms: int
    create_time: datetime
    attempt: int
    fence: int | None
    lease_end: int
    submit_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    content_id: int | None
    error: str | None


class ImportedContentRow(NamedTuple):
    """An insert into `contents`; images as JSON."""

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
    review_comment: str
    create_time: datetime


class ImportedEntryRow(NamedTuple):
    """An insert into `publish_pool`, of an entry that may have ended in the old application."""

    content_id: int
    account_id: int
    priority: int
    schedule_time: datetime | None
    status: int
    error: str


class PoolCandidate(NamedTuple):
    account_id: int
    approved: bool
    in_pool: bool
