"""The ports of an import to both databases, and the rows it inserts. Their fields are in the order of the SQL's
columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from scheduler_svc.domain.old_rows import OldRow, RowKind


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


class ImportsPort(Protocol):
    def find_source(self, name: str) -> int | None: ...
    def use_source(self, name: str) -> int | None: ...
    def add_source(self, name: str) -> int: ...
    def sources(self) -> list[str]: ...
    def known(self, source_id: int, kind: RowKind, old_ids: Iterable[int]) -> dict[int, int]: ...
    def remember(self, source_id: int, kind: RowKind, ids: Mapping[int, int]) -> None: ...
    def lock_accounts(self) -> None: ...
    def account_names(self, ids: Iterable[int]) -> dict[int, str]: ...
    def next_account_ids(self, count: int) -> list[int]: ...
    def insert_accounts(self, rows: Sequence[ImportedAccountRow]) -> None: ...
    def insert_tasks(self, rows: Sequence[ImportedTaskRow]) -> None: ...
    def next_content_ids(self, count: int) -> list[int]: ...
    def insert_contents(self, rows: Sequence[ImportedContentRow]) -> None: ...
    def pool_candidates(self, content_ids: Iterable[int]) -> dict[int, PoolCandidate]: ...
    def insert_entries(self, rows: Sequence[ImportedEntryRow]) -> None: ...


class OldApplication(Protocol):
    """The database that is imported, as of its opening. See `store/old_application/source.py`.

    All methods raise SourceUnreadable; those that return rows, or find rows by keys, also RowsUnreadable. Rows whose
    keys are no integers of at most 18 digits count only in `count` and `without_id`.
    """

    def count(self, kind: RowKind) -> int: ...
    def without_id(self, kind: RowKind) -> int: ...
    def ids(self, kind: RowKind, after: int | None, limit: int) -> list[int]: ...
    def rows(self, kind: RowKind, ids: Iterable[int]) -> list[OldRow]: ...
    def contents_of(self, task_ids: Iterable[str]) -> list[OldRow]: ...
    def in_pool(self, content_ids: Iterable[int]) -> set[int]: ...
    def rejected(self, content_ids: Iterable[int]) -> set[int]: ...
