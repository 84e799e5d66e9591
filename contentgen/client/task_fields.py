"""The fields of a task: the arguments of its submit and of a change, and what of it a task and a template show.

Layer: client. `submit_task` has the arguments of the old application in their order. A new field is an argument by
name: a key of `TaskFields` if it can be changed, else of `SubmitFields`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypedDict


class TaskFields(TypedDict, total=False):
    """Fields that a submit gives, and that can be changed while the task is pending.

    Attributes:
        max_retries: 0 to 100, and at least those that are used; default 3.
        auto_retry: whether failures are retried by themselves; default True.
        timeout: seconds that one attempt may take; default 30 minutes.
        schedule_time: not before; a datetime or ISO 8601, UTC if it names no zone.
        expire_time: cancelled if it was not started by then, with the reason EXPIRED; as `schedule_time`.
        labels: the caller's own; new ones replace all old ones.
    """

    max_retries: int | None
    auto_retry: bool | None
    timeout: float | None
    schedule_time: datetime | str | None
    expire_time: datetime | str | None
    labels: Mapping[str, str] | None


class SubmitFields(TaskFields, total=False):
    """Fields that only a submit gives.

    Attributes:
        request_id: the same id again returns the first task. Default: a new one, so that a retried call is safe.
        creator_options: extra `--key=value` for the CLI.
        initial_backoff: seconds before the first retry; default 30.
        backoff_multiplier: what each further pause is longer by, 1 to 100; default 2.
        max_backoff: seconds of the longest pause; default 10 minutes.
        unique_key: while a task of the account with this key is open, that one's id is returned.
        unique_for: seconds after its submit in which that holds though it has ended; with a `unique_key`.
    """

    request_id: str | None
    creator_options: Mapping[str, str] | None
    initial_backoff: float | None
    backoff_multiplier: float | None
    max_backoff: float | None
    unique_key: str | None
    unique_for: float | None


class TaskChanges(TaskFields, total=False):
    """Fields that a submit has as arguments of their own.

    Attributes:
        topic: what to write about.
        keywords: by comma; empty for none.
        category: stored with the content; empty for none.
        requirements: what the text must follow; empty for none.
        tone: empty for the CLI's own.
        priority: 1 to 10, 10 first.
        auto_approve: whether the content skips the review.
    """

    topic: str | None
    keywords: str | None
    category: str | None
    requirements: str | None
    tone: str | None
    priority: int | None
    auto_approve: bool | None


class Brief(TypedDict):
    """What to write, of a task or of a schedule's template."""

    topic: str
    keywords: str | None
    category: str | None
    requirements: str | None
    """None in lists and events: they leave it out."""
    tone: str | None
