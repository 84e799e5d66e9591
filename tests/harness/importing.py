"""The old application's databases, and the import of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from old_application.command import import_command
from tests.harness.process import Process, inherited, installed
from tests.harness.scheduling import INVARIANTS, sql
from tests.harness.waiting import wait_until

LONG_AGO = datetime(2025, 3, 1, 8, 30, tzinfo=UTC)
SECRET = "wechat-secret-of-the-account"


_TYPES: dict[str, Callable[[], sa.types.TypeEngine[Any]]] = {
    "boolean": sa.Boolean,
    "integer": sa.Integer,
    "json": sa.JSON,
    "text": sa.Text,
    "time": lambda: sa.DateTime(timezone=True),
}
_COLUMNS = {
    "accounts": """
        id:integer# customer_id:integer! platform_id:integer! name:100! directory_name:100* description:text
        is_active:boolean wechat_app_secret:text publisher_api_key:text created_at:time updated_at:time
    """,
    "content_generation_tasks": """
        id:integer# task_id:100* content_id:integer account_id:integer! topic:500 keywords:500 category:100
        requirements:text tone:50 status:50 priority:integer retry_count:integer max_retries:integer
        submitted_at:time started_at:time completed_at:time timeout_at:time result:json error_message:text
        auto_approve:boolean created_at:time updated_at:time
    """,
    "contents": """
        id:integer# account_id:integer! title:255! content_type:50 content:text! summary:text image_url:500
        image_path:500 section_code:50 category:100 topic:500 word_count:integer cover_image:500 images:json
        tags:json review_mode:20 review_status:20 review_comment:text publish_status:20 priority:integer
        scheduled_at:time published_at:time generation_task_id:100 auto_publish:boolean created_at:time
        updated_at:time
    """,
    "publish_pool": """
        id:integer# content_id:integer* priority:integer scheduled_at:time status:20 retry_count:integer
        max_retries:integer last_error:text published_at:time added_at:time
    """,
}
"""Each with its type, a number for a text of that length; # is the key, ! never null, * never null and unique."""


def old_columns() -> dict[str, tuple[sa.Column[Any], ...]]:
    """Returns those of a deployment that lacks none; new ones each time, since a column belongs to one table."""
    return {table: tuple(map(_column, columns.split())) for table, columns in _COLUMNS.items()}


def _column(text: str) -> sa.Column[Any]:
    name, kind, mark = re.fullmatch(r"(\w+):(\w+)([#!*]?)", text).groups()  # type: ignore[union-attr]
    type_ = sa.String(int(kind)) if kind.isdigit() else _TYPES[kind]()
    return sa.Column(name, type_, primary_key=mark == "#", nullable=not mark, unique=mark == "*" or None)


class OldApplication:
    """An old database that rows are put into one by one; each has what its columns ask for."""

    def __init__(self, url: str) -> None:
        self.url = url
        kept = None if url.startswith("postgresql") else sa.NullPool  # of a file nothing may be open
        self._engine = sa.create_engine(url, poolclass=kept)
        metadata = sa.MetaData()
        self._tables = {name: sa.Table(name, metadata, *columns) for name, columns in old_columns().items()}
        metadata.create_all(self._engine)

    def account(self, old_id: int = 1, name: str = "科技号", **more: Any) -> int:
        row = {"id": old_id, "customer_id": 1, "platform_id": 1, "name": name, "directory_name": f"dir-{old_id}"}
        row |= {"is_active": True, "wechat_app_secret": SECRET, "created_at": LONG_AGO}
        self._insert("accounts", row | more)
        return old_id

    def task(self, old_id: int = 1, status: str | None = "pending", **more: Any) -> str:
        """Returns its task_id."""
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
        """Makes a task that is completed; returns the id of its content, which it shares."""
        begun = LONG_AGO + timedelta(minutes=old_id)
        self.content(old_id, generation_task_id=f"task-{old_id:012x}")
        times = {"submitted_at": begun, "started_at": begun, "completed_at": begun + timedelta(minutes=5)}
        self.task(old_id, "completed", content_id=old_id, **times, **more)
        return old_id

    def content(self, old_id: int = 1, **more: Any) -> int:
        row = {"id": old_id, "account_id": 1, "title": f"title {old_id}", "content": f"# article {old_id}\n\nwords"}
        row |= {"review_status": "pending", "publish_status": "draft", "created_at": LONG_AGO}
        self._insert("contents", row | more)
        return old_id

    def entry(self, content_id: int, priority: int | None = 5, **more: Any) -> None:
        row = {"id": content_id, "content_id": content_id, "priority": priority, "status": "pending"}
        self._insert("publish_pool", row | more)

    def compute(self, table: str, **values: str) -> None:
        """Puts a view with its rows in the table's place; these columns have the values of expressions."""
        kept = [column.name for column in self._tables[table].columns if column.name not in values]
        columns = ", ".join([*kept, *(f"{value} AS {name}" for name, value in values.items())])
        self.sql(f"ALTER TABLE {table} RENAME TO {table}_rows")
        self.sql(f"CREATE VIEW {table} AS SELECT {columns} FROM {table}_rows")

    def sql(self, text: str) -> list[Any]:
        with self._engine.begin() as connection:
            result = connection.exec_driver_sql(text)
            return list(result.fetchall()) if result.returns_rows else []

    def _insert(self, table: str, row: Mapping[str, Any]) -> None:
        with self._engine.begin() as connection:
            connection.execute(sa.insert(self._tables[table]), row)

    def dump(self) -> list[list[Any]]:
        return [self.sql(f"SELECT * FROM {table} ORDER BY id") for table in self._tables]

    def close(self) -> None:
        self._engine.dispose()


@contextmanager
def old_application(url: str) -> Iterator[OldApplication]:
    """Yields an empty old database at `url`, which has to be empty."""
    application = OldApplication(url)
    try:
        yield application
    finally:
        application.close()


# The import command on a database of the test's own, and what the database then holds.


APPROVED_BUT_NOT_OFFERED = "what is approved is in the publish pool"
"""Not true of what the old application had approved and taken out of its pool again."""


def sums_of(out: str) -> dict[str, tuple[int, int, int]]:
    """Returns how many were taken, and before, and left out of each kind, by the table that an import prints."""
    rows = re.findall(r"(?m)^(accounts|tasks|contents|pool entries) +(\d+) +(\d+) +(\d+)$", out.replace(",", ""))
    return {kind: (int(taken), int(before), int(left_out)) for kind, taken, before, left_out in rows}


class Importing:
    """Runs the command in this process."""

    def __init__(self, db_url: str, source: str, capsys: pytest.CaptureFixture[str]) -> None:
        """`source` is the URL that is imported. DATABASE_URL has to be `db_url`."""
        self.source = source
        self.out = self.err = ""
        self._capsys = capsys
        self._engine = sa.create_engine(db_url)

    def close(self) -> None:
        self._engine.dispose()

    def __call__(self, *arguments: str) -> int:
        """Returns the exit status; what was printed is in `out` and `err`."""
        self._capsys.readouterr()
        status = import_command([self.source, *arguments])
        self.out, self.err = self._capsys.readouterr()
        return status

    @property
    def left_out(self) -> list[str]:
        """The rows that were named, each with its reason."""
        return re.findall("(?m)^left out: (.*)", self.out)

    def sums(self) -> dict[str, tuple[int, int, int]]:
        return sums_of(self.out)

    def sql(self, text: str, **parameters: Any) -> list[Any]:
        return sql(self._engine, text, **parameters)

    def task(self, old_task_id: str) -> Any:
        """Returns the row of a task with its payload, found as a client finds it: by the label."""
        (row,) = self.sql(
            """SELECT t.*, p.topic, p.keywords, p.requirements, p.labels FROM task_labels AS l
                JOIN tasks AS t USING (task_key) JOIN task_payloads AS p USING (task_key)
                WHERE l.name = 'old_task_id' AND l.value = :value""",
            value=old_task_id,
        )
        return row

    def dump(self) -> list[Any]:
        """Returns what there is of everything that an import may write, but for the order of statistics."""
        return [
            self.sql(f"SELECT * FROM {table} ORDER BY 1, 2")
            for table in ("accounts", "tasks", "task_payloads", "contents", "ready", "imported")
        ] + [
            self.sql("SELECT source_id, name FROM import_sources ORDER BY 1"),
            self.sql("SELECT * FROM task_events ORDER BY seq"),
            self.sql("SELECT * FROM publish_pool ORDER BY 1"),
        ]

    def check(self, *, but: str = "") -> None:
        for what, query in INVARIANTS.items():
            assert what == but or self.sql(query) == [], what


ImportingFrom = Callable[[str], Importing]
"""From the old database of a URL."""
Sqlite = Callable[[str], Importing]
"""The command, from a SQLite file of that name in the test's folder."""


# `contentgen-scheduler import` as a process of its own, and a source that is large enough to be cut off in.


_ACCOUNTS = """
    INSERT INTO accounts (id, customer_id, platform_id, name, directory_name)
    SELECT n, 1, 1, 'account ' || n, 'dir-' || n FROM generate_series(1, 10) AS n
"""
# Half of the tasks are completed, with a content of 4 KB each; every third content is in the pool.
_TASKS = """
    INSERT INTO content_generation_tasks
        (id, task_id, content_id, account_id, topic, status, created_at, completed_at, result)
    SELECT n, 'task-' || n, CASE WHEN mod(n, 2) = 0 THEN n END, 1 + mod(n, 10), 'topic ' || n,
        CASE WHEN mod(n, 2) = 0 THEN 'completed' ELSE 'pending' END, '{begun}', CASE WHEN mod(n, 2) = 0 THEN now() END,
        CASE WHEN mod(n, 2) = 0 THEN json_build_object('htmlContent', repeat('<p>', 1000)) END
    FROM generate_series(1, {count}) AS n
"""
_CONTENTS = """
    INSERT INTO contents (id, account_id, title, content, review_status)
    SELECT n, 1 + mod(n, 10), 'title ' || n, repeat('word', 1000), 'approved' FROM generate_series(2, {count}, 2) AS n
"""
_POOL = "INSERT INTO publish_pool (id, content_id, priority) SELECT n, n, 3 FROM generate_series(2, {count}, 6) AS n"
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def fill(old: OldApplication, count: int) -> None:
    """Inserts so many tasks, all of one moment, in a PostgreSQL source."""
    for statement in (_ACCOUNTS, _TASKS, _CONTENTS, _POOL):
        old.sql(statement.format(count=count, begun=LONG_AGO.isoformat()))


def peak_kib(pid: int) -> int:
    """Returns the most memory that a process has had; 0 if it has ended."""
    with suppress(OSError):
        if match := _PEAK.search(Path(f"/proc/{pid}/status").read_text()):  # a zombie has none
            return int(match[1])
    return 0


class ImportProcess(Process):
    """One run, started at once; left, it is killed if it still runs."""

    def __init__(self, source: str, folder: Path, *arguments: str, **settings: str) -> None:
        command = [str(installed("contentgen-scheduler")), "import", source, *arguments]
        out = folder / "import.out"
        out.unlink(missing_ok=True)
        super().__init__("import", command, folder / "import.err", inherited() | settings, out=out)
        self._peak_kib = 0
        self.launch()

    def ended(self, within: float = 300.0, status: int = 0) -> None:
        """Waits for its end, with that exit status; then `peak_kib` stays as it is."""
        wait_until(self._watched, within=within, what="the import has ended")
        assert self.exit_status == status, self.text()

    @property
    def peak_kib(self) -> int:
        """The most memory that it has had. `ru_maxrss` would be that of pytest, which forked it."""
        self._peak_kib = max(self._peak_kib, peak_kib(self.pid))
        return self._peak_kib

    def _watched(self) -> bool:
        """Returns whether it has ended; until then it notes the peak."""
        return self.peak_kib >= 0 and not self.alive
