"""What tests stand on, what each costs, and their order."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path

import psutil
import pytest

from worker_svc.guard.process import procfs

LEVELS = {
    "unit": "decisions, bounds, arithmetic: neither a database nor a service",
    "lab": "the tools that judge and measure the product",
    "integration": "real parts without gRPC: PostgreSQL, processes of one service, files",
    "contract": "a server, over gRPC",
    "browser": "the console's pages in a browser",
    "e2e": "services as processes of their own",
}
"""What a test stands on, the cheapest first. Each test is marked with one."""


# What each test costs: the CPU of this process and of all that descend from it, PostgreSQL among them.
#
# `make slowest` runs it. A fixture that tests share is charged to the test that is first to need it, and so are
# imports.


_SHOWN = 60


class Tree:
    """This process and what descends from it.

    The kernel leaves out some children of a list while others end, so a process that was seen once is remembered.
    """

    def __init__(self) -> None:
        self._seen = {os.getpid()}

    def cpu(self) -> float:
        """Returns the seconds that all have used so far, with those that have ended and were waited for."""
        seconds_by_pid: dict[int, float] = {}
        pending, children = [*self._seen], procfs.children_now()
        while pending:
            pid = pending.pop()
            if pid not in seconds_by_pid:
                with suppress(psutil.NoSuchProcess):  # else its parent has what it used
                    times = psutil.Process(pid).cpu_times()
                    seconds_by_pid[pid] = times.user + times.system + times.children_user + times.children_system
                    pending += children(pid)
        self._seen = set(seconds_by_pid)
        return sum(seconds_by_pid.values())


class Costs:
    """Writes a line for each test, in whichever process runs it; the process that was called sums up at the end."""

    def __init__(self, path: Path) -> None:
        self._path, self._tree = path, Tree()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        cpu, start = self._tree.cpu(), time.monotonic()
        ran = yield
        line = {
            "test": item.nodeid,
            "cpu": round(self._tree.cpu() - cpu, 2),
            "wall": round(time.monotonic() - start, 2),
        }
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


# The order of tests: files with costly tests begin first, so that none of them is what all wait for in the end.
#
# xdist's `worksteal` gives each of its processes an equal run of neighbours, and lets who is done take from the end
# of another run. So each run begins with its share of the costly files. The tests of a file stay together: they share
# fixtures.


Tests = list[pytest.Item]


def costly_first(tests: Sequence[pytest.Item], processes: int) -> Tests:
    """Returns the same tests, in as many runs of equal length, one after the other."""
    files = [list(group) for _, group in groupby(tests, key=lambda test: test.path)]
    counted = [(sum(test.get_closest_marker("costly") is not None for test in file), file) for file in files]
    shares: list[Tests] = [[] for _ in range(processes)]
    costs = [0] * processes
    for cost, file in sorted(counted, key=lambda pair: pair[0], reverse=True):
        if cost:
            least = costs.index(min(costs))
            shares[least] += file
            costs[least] += cost
    others = [test for cost, file in counted if not cost for test in file]
    left = len(tests)
    for number, share in enumerate(shares):
        fill = max(left // (processes - number) - len(share), 0)
        share.extend(others[:fill])
        del others[:fill]
        left -= len(share)
    return [test for share in shares for test in share] + others
