"""The rules of the import: what the old application's rows become. docs/migration.md explains them to users.

Pure: what a row becomes by itself; whether its account and content exist is checked in `importing`. The id is
read first: of rows that share one, the database returns any, so nothing is reported that only some of them hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple, TypeVar

from old_application.old_rows import LeftOut, OldRow
from scheduler_svc.domain.content import MAX_RESULT_BYTES, TITLE_LENGTH, PublishStatus, ReviewStatus, summary_of
from scheduler_svc.domain.lifecycle import CANCELLED_BY_CLIENT, TASK_TIMEOUT, Status
from scheduler_svc.domain.task import (
    DEFAULT_MAX_RETRIES,
    DEFAULT_PRIORITY,
    MAX_LENGTHS,
    MAX_PRIORITY,
    MAX_PROMPT_BYTES,
    MAX_RETRIES,
    MIN_PRIORITY,
    Brief,
    TaskError,
)

T = TypeVar("T")

MAX_ERROR = 2_000
MAX_COMMENT = 2_000
MAX_ACCOUNT_NAME = 200
MAX_OLD_TASK_ID = 255  # it becomes a label
MAX_IMAGES = 1_000
_LARGEST_SCORE = 1e9
OLD_TASK_ID = "old_task_id"
OLD_CONTENT_ID = "old_content_id"
"""Labels that hold a task's former ids."""

_STATUSES = {
    "": Status.PENDING,
    "pending": Status.PENDING,
    "submitted": Status.PENDING,
    "processing": Status.PENDING,
    "completed": Status.COMPLETED,
    "failed": Status.FAILED,
    "timeout": Status.TIMEOUT,
    "cancelled": Status.CANCELLED,
}
_SPELLINGS = {"canceled": "cancelled", "timedout": "timeout"}
_PUBLISH_STATUSES = {
    "": PublishStatus.PENDING,
    "pending": PublishStatus.PENDING,
    "publishing": PublishStatus.PENDING,
    "published": PublishStatus.PUBLISHED,
    "failed": PublishStatus.FAILED,
}
_REASONS = {
    Status.PENDING: "CREATOR_ERROR",
    Status.FAILED: "CREATOR_ERROR",
    Status.TIMEOUT: TASK_TIMEOUT,
    Status.CANCELLED: CANCELLED_BY_CLIENT,
}


class ImportedAccount(NamedTuple):
    old_id: int
    name: str
    active: bool
    create_time: datetime | None


class OldResult(NamedTuple):
    """Parts of a task's `result` that its content row lacks, and the body in case that row is gone."""

    body: str = ""
    html_body: str = ""
    images: tuple[str, ...] = ()
    quality_score: float | None = None


class ImportedTask(NamedTuple):
    """A new task, without key, account and content. `status` is PENDING for all that had not ended."""

    old_id: int
    old_task_id: str
    old_account_id: int
    old_content_id: int | None
    brief: Brief
    status: Status
    priority: int
    auto_approve: bool
    retry_count: int
    max_retries: int
    create_time: datetime | None
    submit_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    error: TaskError | None
    result: OldResult


class ImportedContent(NamedTuple):
    """A new content, without id, task and account. `old_id` None: it is made of its task's result."""

    old_id: int | None
    old_account_id: int
    title: str
    body: str
    summary: str
    category: str
    images: tuple[str, ...]
    review_status: ReviewStatus
    review_comment: str
    create_time: datetime | None


class ImportedEntry(NamedTuple):
    old_id: int
    old_content_id: int
    priority: int
    schedule_time: datetime | None
    status: PublishStatus
    error: str


def account(row: OldRow) -> ImportedAccount:
    """Returns an account; the old application's other columns are dropped. Raises LeftOut."""
    old_id = row.old_id
    name = row.text("name").strip() or row.text("directory_name").strip() or f"account {old_id}"
    return ImportedAccount(old_id, name[:MAX_ACCOUNT_NAME], row.flag("is_active", True), row.time("created_at"))


def task(row: OldRow) -> ImportedTask:
    """Returns a task; one that had not ended starts anew. Raises LeftOut."""
    old_id = row.old_id
    status = _named(row, "status", _STATUSES)
    max_retries = _within(row.number("max_retries"), DEFAULT_MAX_RETRIES, 0, MAX_RETRIES)
    ended = status is not Status.PENDING
    return ImportedTask(
        old_id=old_id,
        old_task_id=row.text("task_id", MAX_OLD_TASK_ID),
        old_account_id=row.required_number("account_id"),
        old_content_id=row.number("content_id") or None,
        brief=_brief(row),
        status=status,
        priority=_within(row.number("priority"), DEFAULT_PRIORITY, MIN_PRIORITY, MAX_PRIORITY),
        auto_approve=row.flag("auto_approve", True),
        retry_count=_within(row.number("retry_count"), 0, 0, max_retries),
        max_retries=max_retries,
        create_time=row.time("created_at") or row.time("submitted_at") or row.time("updated_at"),
        submit_time=row.time("submitted_at") if ended else None,
        start_time=row.time("started_at") if ended else None,
        end_time=_end_time(row) if ended else None,
        error=_error(row, status),
        result=_result(row.document("result")),
    )


def content(row: OldRow, *, in_pool: bool) -> ImportedContent:
    """Returns a content. One in the pool was to be published, so it counts as approved. Raises LeftOut."""
    old_id = row.old_id
    body = row.text("content")
    _check_body(body)
    return ImportedContent(
        old_id=old_id,
        old_account_id=row.required_number("account_id"),
        title=(row.text("title").strip() or row.text("topic").strip())[:TITLE_LENGTH],
        body=body,
        summary=summary_of(row.text("summary") or body),
        category=row.text("category")[: MAX_LENGTHS["category"]],
        images=_images_of(row),
        review_status=_review(row, in_pool=in_pool),
        review_comment=row.text("review_comment")[:MAX_COMMENT],
        create_time=row.time("created_at"),
    )


def content_of_result(of: ImportedTask) -> ImportedContent:
    """Returns the content of a completed task whose content row is gone; it needs a review. Raises LeftOut."""
    _check_body(of.result.body)
    return ImportedContent(
        old_id=None,
        old_account_id=of.old_account_id,
        title=of.brief.topic[:TITLE_LENGTH],
        body=of.result.body,
        summary=summary_of(of.result.body),
        category=of.brief.category,
        images=of.result.images,
        review_status=ReviewStatus.PENDING_REVIEW,
        review_comment="",
        create_time=of.end_time,
    )


def entry(row: OldRow) -> ImportedEntry:
    """Returns an entry of the publish pool; a claim of the old publisher is dropped. Raises LeftOut."""
    old_id = row.old_id
    old = _within(row.number("priority"), DEFAULT_PRIORITY, MIN_PRIORITY, MAX_PRIORITY)
    status = _named(row, "status", _PUBLISH_STATUSES)
    return ImportedEntry(
        old_id=old_id,
        old_content_id=row.required_number("content_id"),
        priority=MIN_PRIORITY + MAX_PRIORITY - old,  # there the smaller is the more urgent
        schedule_time=row.time("scheduled_at"),
        status=status,
        error=row.text("last_error")[:MAX_ERROR] if status is PublishStatus.FAILED else "",
    )


def html_beside(body: str, html: str) -> str:
    """Returns the HTML of a result, or nothing if body and HTML together are too large."""
    return html if len(body.encode()) + len(html.encode()) <= MAX_RESULT_BYTES else ""


def _brief(row: OldRow) -> Brief:
    brief = Brief.of(row.text(name, most) for name, most in MAX_LENGTHS.items())
    if not brief.topic.strip():
        raise LeftOut("topic is empty")
    held = brief.prompt_bytes
    if held > MAX_PROMPT_BYTES:
        raise LeftOut(f"topic and requirements have {held:,} bytes together, and may have {MAX_PROMPT_BYTES:,}")
    return brief


def _named(row: OldRow, column: str, names: Mapping[str, T]) -> T:
    """Finds a status by its name; case, spaces, hyphens and underscores don't matter."""
    text = row.text(column)
    plain = "".join(character for character in text.lower() if character.isalnum())
    status = names.get(_SPELLINGS.get(plain, plain))
    if status is None:
        raise LeftOut(f"{column} {text[:40]!r} is none of {', '.join(name for name in names if name)}")
    return status


def _within(number: int | None, default: int, least: int, most: int) -> int:
    return default if number is None else min(max(number, least), most)


def _end_time(row: OldRow) -> datetime | None:
    columns = ("completed_at", "updated_at", "started_at", "submitted_at", "created_at")
    return next((time for column in columns if (time := row.time(column))), None)


def _error(row: OldRow, status: Status) -> TaskError | None:
    """The last attempt's error: none for a completed task, always one for a task that failed or was cancelled."""
    message = row.text("error_message")[:MAX_ERROR]
    if status is Status.COMPLETED or (status is Status.PENDING and not message):
        return None
    return TaskError(_REASONS[status], message)


def _result(document: object) -> OldResult:
    """Reads what it can; a document of another shape counts as empty."""
    if not isinstance(document, Mapping):
        return OldResult()
    return OldResult(
        body=_storable(document.get("content")),
        html_body=_storable(document.get("htmlContent")),
        images=_images(document.get("images")),
        quality_score=_score(document.get("qualityScore")),
    )


def _score(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= _LARGEST_SCORE else None  # neither infinite nor no number at all


def _storable(value: object) -> str:
    """Returns the text, or an empty one if it can't be stored."""
    try:
        return OldRow({"value": value}).text("value") if isinstance(value, str) else ""
    except LeftOut:
        return ""


def _check_body(body: str) -> None:
    if not body.strip():
        raise LeftOut("content is empty")
    size = len(body.encode())
    if size > MAX_RESULT_BYTES:
        raise LeftOut(f"content has {size:,} bytes, and may have {MAX_RESULT_BYTES:,}")


def _review(row: OldRow, *, in_pool: bool) -> ReviewStatus:
    status = row.text("review_status").strip().lower()
    if status == "rejected":
        return ReviewStatus.REJECTED
    return ReviewStatus.APPROVED if status == "approved" or in_pool else ReviewStatus.PENDING_REVIEW


def _images_of(row: OldRow) -> tuple[str, ...]:
    """The cover first; older rows have a single picture and no list."""
    images = _images(row.document("images"))
    first = row.text("cover_image") or (row.text("image_url") if not images else "")
    return (first, *(image for image in images if image != first)) if first else images


def _images(document: object) -> tuple[str, ...]:
    """Reads names or addresses from a list of texts or of objects with `url`."""
    items = document if isinstance(document, list) else []
    addresses = [item.get("url") if isinstance(item, Mapping) else item for item in items[:MAX_IMAGES]]
    return tuple(text for item in addresses if (text := _storable(item)))
