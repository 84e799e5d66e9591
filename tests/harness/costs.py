"""What tests stand on, what each costs, and their order."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import suppress
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


COSTS = "build/costs.jsonl"
_SHOWN = 60
_UNMARKED_LIMIT = 3.0
"""Seconds of CPU: a test that needs more says why, by the mark `costly`."""


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

    def __init__(self, path: Path, *, anew: bool) -> None:
        self._path, self._tree = path, Tree()
        if anew:
            path.parent.mkdir(exist_ok=True)
            path.write_text("")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        cpu, start = self._tree.cpu(), time.monotonic()
        ran = yield
        line = {
            "test": item.nodeid,
            "cpu": round(self._tree.cpu() - cpu, 2),
            "wall": round(time.monotonic() - start, 2),
            "marked": seconds_of(item),
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        return ran

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        lines = [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]
        tests = {line["test"]: line["cpu"] for line in lines}
        marked = {line["test"] for line in lines if line["marked"]}
        files = Counter[str]()
        for test, cpu in tests.items():
            files[test.partition("::")[0]] += cpu
        for title, costs in {
            f"seconds of CPU, {files.total():.0f} in all: tests": tests,
            "files": files,
            f"more than {_UNMARKED_LIMIT:g} s without the mark `costly`": {
                test: cpu for test, cpu in tests.items() if cpu > _UNMARKED_LIMIT and test not in marked
            },
        }.items():
            terminalreporter.write_sep("=", title)
            for name, cpu in sorted(costs.items(), key=lambda cost: -cost[1])[:_SHOWN]:
                terminalreporter.write_line(f"{cpu:8.1f}  {name}")


# The order of tests: costly ones begin first, so that none of them is what all wait for in the end.
#
# xdist's `worksteal` gives each of its processes an equal run of neighbours, and lets who is done take from the end
# of another run. So each run begins with its share of the costly files. The tests of a file stay together: they share
# fixtures.


def seconds_of(test: pytest.Item) -> float:
    """Returns what a test costs by its mark `costly`; 0 if it has none."""
    mark = test.get_closest_marker("costly")
    return float(mark.kwargs["seconds"]) if mark else 0.0


def runs_of(tests: Iterable[pytest.Item], processes: int) -> list[pytest.Item]:
    """Returns the same tests in as many runs of equal length, one after the other; a file's stay together, in order."""
    files: dict[Path, list[pytest.Item]] = {}
    for test in tests:
        files.setdefault(test.path, []).append(test)
    runs: list[list[pytest.Item]] = [[] for _ in range(processes)]
    others: list[pytest.Item] = []
    costs = [0.0] * processes
    for file in files.values():
        if cost := sum(map(seconds_of, file)):
            least = costs.index(min(costs))
            runs[least] += file
            costs[least] += cost
        else:
            others += file
    left = sum(map(len, files.values()))
    for number, run in enumerate(runs):
        fill = max(left // (processes - number) - len(run), 0)
        run.extend(others[:fill])
        del others[:fill]
        left -= len(run)
    return [test for run in runs for test in run] + others
