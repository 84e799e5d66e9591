"""The import command on a database of the test's own, and what the database then holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from scheduler_svc.admin.import_command import import_command
from tests.harness.scheduling import INVARIANTS

APPROVED_BUT_NOT_OFFERED = "what is approved is in the publish pool"
"""Not true of what the old application had approved and taken out of its pool again."""


class Importing:
    """Runs the command in this process."""

    def __init__(self, db_url: str, source: str, capsys: pytest.CaptureFixture[str]) -> None:
        """`source` is the URL that is imported. DATABASE_URL has to be `db_url`."""
        self.source = source
        self.out = self.err = ""
        self._capsys = capsys
        self._engine = sa.create_engine(db_url, poolclass=sa.NullPool)

    def __call__(self, *arguments: str) -> int:
        """The exit status; what was printed is in `out` and `err`."""
        self._capsys.readouterr()
        status = import_command([self.source, *arguments])
        self.out, self.err = self._capsys.readouterr()
        return status

    @property
    def left_out(self) -> list[str]:
        """The rows that were named, each with its reason."""
        lines = self.out.splitlines()
        return [line.removeprefix("left out: ") for line in lines if line.startswith("left out: ")]

    def sums(self) -> dict[str, tuple[int, int, int]]:
        """Taken, before and left out of each kind."""
        table = self.out.splitlines()
        begin = next(i for i, line in enumerate(table) if line.strip().startswith(("taken", "to take")))
        sums = {}
        for line in table[begin + 1 : begin + 5]:
            taken, before, left_out = (int(text.replace(",", "")) for text in line.split()[-3:])
            sums[" ".join(line.split()[:-3])] = (taken, before, left_out)
        return sums

    def sql(self, text: str, **parameters: Any) -> Sequence[Any]:
        with self._engine.begin() as connection:
            return connection.execute(sa.text(text), parameters).fetchall()

    def task(self, old_task_id: str) -> Any:
        """The row of a task with its payload, found as a client finds it: by the label."""
        (row,) = self.sql(
            """SELECT t.*, p.topic, p.keywords, p.requirements, p.labels FROM task_labels AS l
                JOIN tasks AS t USING (task_key) JOIN task_payloads AS p USING (task_key)
                WHERE l.name = 'old_task_id' AND l.value = :value""",
            value=old_task_id,
        )
        return row

    def dump(self) -> list[Any]:
        """What there is of everything that an import may write, but for the order of statistics."""
        return [
            self.sql(f"SELECT * FROM {table} ORDER BY 1, 2")
            for table in ("accounts", "tasks", "task_payloads", "contents", "ready", "imported")
        ] + [
            self.sql("SELECT source_id, name FROM import_sources ORDER BY 1"),
            self.sql("SELECT * FROM task_events ORDER BY seq"),
            self.sql("SELECT * FROM publish_pool ORDER BY 1"),
        ]

    def check(self, *, but: str = "") -> None:
        """Asserts the database's invariants."""
        with self._engine.connect() as connection:
            for what, query in INVARIANTS.items():
                assert what == but or connection.execute(sa.text(query)).fetchall() == [], what


ImportingFrom = Callable[[str], Importing]
"""From the old database of a URL."""
Sqlite = Callable[[str], Importing]
"""The command, from a SQLite file of that name in the test's folder."""
