"""The old application's tables, for tests of the import: as its models made them, in SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

LONG_AGO = datetime(2025, 3, 1, 8, 30, tzinfo=UTC)
SECRET = "wechat-secret-of-the-account"

_TIME = sa.DateTime(timezone=True)


def old_columns() -> dict[str, tuple[sa.Column[Any], ...]]:
    """As a deployment that lacks none has them; new ones each time, since a column belongs to one table."""
    return {
        "accounts": (
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("customer_id", sa.Integer, nullable=False),
            sa.Column("platform_id", sa.Integer, nullable=False),
            sa.Column("name", sa.String(100), nullable=False),
            sa.Column("directory_name", sa.String(100), nullable=False, unique=True),
            sa.Column("description", sa.Text),
            sa.Column("is_active", sa.Boolean),
            sa.Column("wechat_app_secret", sa.Text),
            sa.Column("publisher_api_key", sa.Text),
            sa.Column("created_at", _TIME),
            sa.Column("updated_at", _TIME),
        ),
        "content_generation_tasks": (
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("task_id", sa.String(100), nullable=False, unique=True),
            sa.Column("content_id", sa.Integer),
            sa.Column("account_id", sa.Integer, nullable=False),
            sa.Column("topic", sa.String(500)),
            sa.Column("keywords", sa.String(500)),
            sa.Column("category", sa.String(100)),
            sa.Column("requirements", sa.Text),
            sa.Column("tone", sa.String(50)),
            sa.Column("status", sa.String(50)),
            sa.Column("priority", sa.Integer),
            sa.Column("retry_count", sa.Integer),
            sa.Column("max_retries", sa.Integer),
            sa.Column("submitted_at", _TIME),
            sa.Column("started_at", _TIME),
            sa.Column("completed_at", _TIME),
            sa.Column("timeout_at", _TIME),
            sa.Column("result", sa.JSON),
            sa.Column("error_message", sa.Text),
            sa.Column("auto_approve", sa.Boolean),
            sa.Column("created_at", _TIME),
            sa.Column("updated_at", _TIME),
        ),
        "contents": (
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("account_id", sa.Integer, nullable=False),
            sa.Column("title", sa.String(255), nullable=False),
            sa.Column("content_type", sa.String(50)),
            sa.Column("content", sa.Text, nullable=False),
            sa.Column("summary", sa.Text),
            sa.Column("image_url", sa.String(500)),
            sa.Column("image_path", sa.String(500)),
            sa.Column("section_code", sa.String(50)),
            sa.Column("category", sa.String(100)),
            sa.Column("topic", sa.String(500)),
            sa.Column("word_count", sa.Integer),
            sa.Column("cover_image", sa.String(500)),
            sa.Column("images", sa.JSON),
            sa.Column("tags", sa.JSON),
            sa.Column("review_mode", sa.String(20)),
            sa.Column("review_status", sa.String(20)),
            sa.Column("review_comment", sa.Text),
            sa.Column("publish_status", sa.String(20)),
            sa.Column("priority", sa.Integer),
            sa.Column("scheduled_at", _TIME),
            sa.Column("published_at", _TIME),
            sa.Column("generation_task_id", sa.String(100)),
            sa.Column("auto_publish", sa.Boolean),
            sa.Column("created_at", _TIME),
            sa.Column("updated_at", _TIME),
        ),
        "publish_pool": (
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("content_id", sa.Integer, nullable=False, unique=True),
            sa.Column("priority", sa.Integer),
            sa.Column("scheduled_at", _TIME),
            sa.Column("status", sa.String(20)),
            sa.Column("retry_count", sa.Integer),
            sa.Column("max_retries", sa.Integer),
            sa.Column("last_error", sa.Text),
            sa.Column("published_at", _TIME),
            sa.Column("added_at", _TIME),
        ),
    }


class OldApplication:
    """An old database that rows are put into one by one; each has what its columns ask for."""

    def __init__(self, url: str, without: Collection[str] = ()) -> None:
        """`without` names columns, as `table.column`, that this deployment lacks."""
        self.url = url
        self._engine = sa.create_engine(url, poolclass=sa.NullPool)
        metadata = sa.MetaData()
        self._tables = {
            name: sa.Table(name, metadata, *[column for column in columns if f"{name}.{column.name}" not in without])
            for name, columns in old_columns().items()
        }
        metadata.create_all(self._engine)

    def account(self, old_id: int = 1, name: str = "科技号", **more: Any) -> int:
        self._insert(
            "accounts",
            {
                "id": old_id,
                "customer_id": 1,
                "platform_id": 1,
                "name": name,
                "directory_name": f"dir-{old_id}",
                "is_active": True,
                "wechat_app_secret": SECRET,
                "created_at": LONG_AGO,
            }
            | more,
        )
        return old_id

    def task(self, old_id: int = 1, status: str | None = "pending", **more: Any) -> str:
        """Its task_id."""
        row = {
            "id": old_id,
            "task_id": f"task-{old_id:012x}",
            "account_id": 1,
            "topic": f"topic {old_id}",
            "status": status,
            "created_at": LONG_AGO + timedelta(minutes=old_id),
        } | more
        self._insert("content_generation_tasks", row)
        return str(row["task_id"])

    def completed(self, old_id: int = 1, **more: Any) -> int:
        """A task that is completed; the id of its content, which it shares."""
        begun = LONG_AGO + timedelta(minutes=old_id)
        self.content(old_id, generation_task_id=f"task-{old_id:012x}")
        times = {"submitted_at": begun, "started_at": begun, "completed_at": begun + timedelta(minutes=5)}
        self.task(old_id, "completed", content_id=old_id, **times, **more)
        return old_id

    def content(self, old_id: int = 1, **more: Any) -> int:
        row = {
            "id": old_id,
            "account_id": 1,
            "title": f"title {old_id}",
            "content": f"# article {old_id}\n\nwords",
            "review_status": "pending",
            "publish_status": "draft",
            "created_at": LONG_AGO,
        }
        self._insert("contents", row | more)
        return old_id

    def entry(self, content_id: int, priority: int | None = 5, **more: Any) -> None:
        row = {"id": content_id, "content_id": content_id, "priority": priority, "status": "pending"}
        self._insert("publish_pool", row | more)

    def columns(self, table: str) -> list[str]:
        """The names of its columns."""
        return [column.name for column in self._tables[table].columns]

    def sql(self, text: str) -> list[Any]:
        with self._engine.begin() as connection:
            result = connection.exec_driver_sql(text)
            return list(result.fetchall()) if result.returns_rows else []

    def _insert(self, table: str, row: Mapping[str, Any]) -> None:
        there = self._tables[table]
        with self._engine.begin() as connection:
            connection.execute(sa.insert(there), {name: value for name, value in row.items() if name in there.c})

    def dump(self) -> list[list[Any]]:
        """All that is in it."""
        return [self.sql(f"SELECT * FROM {table} ORDER BY id") for table in self._tables]

    def close(self) -> None:
        self._engine.dispose()


@contextmanager
def old_application(url: str, without: Collection[str] = ()) -> Iterator[OldApplication]:
    """An empty old database at `url`, which has to be empty."""
    application = OldApplication(url, without)
    try:
        yield application
    finally:
        application.close()
