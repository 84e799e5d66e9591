"""`contentgen-scheduler import` as a process of its own, and a source that is large enough to be cut off in."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from tests.harness.old_application import LONG_AGO, OldApplication
from tests.harness.process import Process, inherited, installed
from tests.harness.waiting import wait_until

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
    """So many tasks, all of one moment, in a PostgreSQL source."""
    for statement in (_ACCOUNTS, _TASKS, _CONTENTS, _POOL):
        old.sql(statement.format(count=count, begun=LONG_AGO.isoformat()))


class ImportProcess(Process):
    """One run, started at once; left, it is killed if it still runs."""

    def __init__(self, source: str, folder: Path, *arguments: str, **settings: str) -> None:
        command = [str(installed("contentgen-scheduler")), "import", source, *arguments]
        self._printed = folder / "import.out"
        self._printed.unlink(missing_ok=True)
        super().__init__("import", command, folder / "import.err", inherited() | settings, out=self._printed)
        self._peak_kib = 0
        self.launch()

    @property
    def out(self) -> str:
        return self._printed.read_text(encoding="utf-8")

    def line(self, begin: str) -> str:
        """The line of its output that begins so."""
        return next(line for line in self.out.splitlines() if line.startswith(begin))

    def ended(self, within: float = 300.0, status: int = 0) -> None:
        """Waits for its end, with that exit status; then `peak_kib` stays as it is."""
        wait_until(self._watched, within=within, what="the import has ended")
        assert self.exit_status == status, self.text()

    @property
    def peak_kib(self) -> int:
        """The most memory that it has had. `ru_maxrss` would be that of pytest, which forked it."""
        with suppress(OSError):
            match = _PEAK.search(Path(f"/proc/{self.pid}/status").read_text())
            self._peak_kib = int(match[1]) if match else self._peak_kib  # a zombie has none
        return self._peak_kib

    def _watched(self) -> bool:
        """Whether it has ended; until then it notes the peak."""
        return self.peak_kib >= 0 and not self.alive
