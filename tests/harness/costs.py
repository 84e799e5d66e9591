"""What each test costs: the CPU of this process and of all that descend from it, PostgreSQL among them.

`make slowest` runs it. A fixture that tests share is charged to the test that is first to need it, and so are imports.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

_TICKS = os.sysconf("SC_CLK_TCK")
_SHOWN = 60


def tree_cpu() -> float:
    """Seconds of CPU that this process and its descendants have used, with those that have ended and were waited for."""
    return _cpu_of(os.getpid()) / _TICKS


def _cpu_of(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        threads = [f"/proc/{pid}/task/{thread}/children" for thread in os.listdir(f"/proc/{pid}/task")]
        children = [int(child) for thread in threads for child in Path(thread).read_text(encoding="ascii").split()]
    except OSError:
        return 0  # it has just ended, and its parent has it
    return sum(map(int, stat.rpartition(")")[2].split()[11:15])) + sum(map(_cpu_of, children))


class Costs:
    """Writes a line for each test, in whichever process runs it; the process that was called sums up at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[object]:
        cpu, start = tree_cpu(), time.monotonic()
        ran = yield
        line = {"test": item.nodeid, "cpu": round(tree_cpu() - cpu, 2), "wall": round(time.monotonic() - start, 2)}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        return ran

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        lines = [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]
        files = Counter[str]()
        for line in lines:
            files[line["test"].partition("::")[0]] += line["cpu"]
        terminalreporter.write_sep("=", f"seconds of CPU, {sum(files.values()):.0f} in all: tests, then files")
        for line in sorted(lines, key=lambda line: -line["cpu"])[:_SHOWN]:
            terminalreporter.write_line(f"{line['cpu']:8.1f}  {line['test']}")
        terminalreporter.write_line("")
        for file, cpu in files.most_common(_SHOWN):
            terminalreporter.write_line(f"{cpu:8.1f}  {file}")
