"""The order of tests, what they leave behind, and the check for retired words."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from tests.harness.costs import runs_of, seconds_of
from tests.harness.processes import new_children
from verification.generated.words import uses_in

pytestmark = pytest.mark.unit


# Costly tests begin first, each file of them in one of the runs that xdist gives its processes.


@dataclass(frozen=True)
class Collected:
    """What the order looks at of a test that pytest has collected."""

    path: Path
    number: int
    cost: str

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        assert name == "costly"
        return None if self.cost == "." else pytest.mark.costly("why", seconds=int(self.cost)).mark


def ordered(processes: int, **files: str) -> list[Any]:
    """Files with a character a test: its seconds, or a dot."""
    tests = [Collected(Path(file), *test) for file, costs in files.items() for test in enumerate(costs)]
    in_runs: list[Any] = runs_of(sorted(cast("list[Any]", tests), key=seconds_of, reverse=True), processes)
    assert sorted(map(str, in_runs)) == sorted(map(str, tests)), "none is lost, none comes twice"
    return in_runs


def runs(processes: int, **files: str) -> list[list[str]]:
    """The files of each process's run, as xdist's `worksteal` cuts them."""
    tests = ordered(processes, **files)
    names = []
    for left in range(processes, 0, -1):
        run, tests = tests[: len(tests) // left], tests[len(tests) // left :]
        names.append(list(dict.fromkeys(test.path.name for test in run)))
    return names


def test_each_run_begins_with_its_share_of_the_costly_files_the_one_with_the_longest_test_first() -> None:
    files = {"a": "...", "b": "..1", "d": "....", "e": "22.", "f": "..", "g": "3.."}
    assert runs(3, **files) == [["g", "a"], ["e", "d"], ["b", "d", "f"]]


def test_a_run_of_costly_files_only_leaves_the_others_to_the_next_one() -> None:
    assert runs(2, a="..", b="111111", c="1") == [["b"], ["b", "c", "a"]]


def test_a_file_begins_with_its_longest_test_and_has_the_others_in_their_order() -> None:
    tests = ordered(1, a="..", b=".1.2")
    assert [f"{test.path}{test.number}" for test in tests] == ["b3", "b1", "b0", "b2", "a0", "a1"]


# What a test leaves behind is found.


SLEEPER = [sys.executable, "-c", "input()"]


def start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(SLEEPER, stdin=subprocess.PIPE)


def test_a_new_child_is_told_until_it_was_waited_for() -> None:
    with start():
        before = new_children()
        with ThreadPoolExecutor(1) as thread, thread.submit(start).result() as child:
            assert before() == {child.pid}
            child.kill()
            assert before() == {child.pid}
        assert before() == set()


# The check for retired words.


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("if there is room for it", "room"),
        ("self._rooms = 1", "rooms"),
        ("Steering a task", "Steering"),
        ("MOST = 3", "MOST"),
    ],
)
def test_a_retired_word_is_found_with_its_place(line: str, word: str) -> None:
    assert list(uses_in("some/file.py", f"first\n{line}\n")) == [f"some/file.py:2: {word}"]


@pytest.mark.parametrize("line", ["a mushroom", "bedrooms", "a doorstep", "most of it", "for each row"])
def test_a_part_of_another_word_is_not_found(line: str) -> None:
    assert list(uses_in("some/file.py", line)) == []
