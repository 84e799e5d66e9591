"""The order of tests, what they leave behind, and the check for retired words."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from tests.harness.costs import costly_first
from tests.harness.processes import new_children
from verification.generated.words import uses_in

pytestmark = pytest.mark.unit


# Files with costly tests begin first, each in one of the runs that xdist gives its processes.


@dataclass(frozen=True)
class Collected:
    """What the order looks at of a test that pytest has collected."""

    path: Path
    number: int
    costly: bool

    def get_closest_marker(self, name: str) -> object:
        return name if self.costly and name == "costly" else None


def collected(**files: str) -> list[Any]:
    """Files with a letter a test: `c` is a costly one."""
    return [
        Collected(Path(file), number, letter == "c")
        for file, tests in files.items()
        for number, letter in enumerate(tests)
    ]


def runs(tests: list[Any], processes: int) -> list[list[str]]:
    """The files of each process's run, as xdist's `worksteal` cuts them."""
    ordered = cast("list[Any]", costly_first(cast("list[pytest.Item]", tests), processes))
    assert sorted(map(str, ordered)) == sorted(map(str, tests)), "none is lost, none comes twice"
    names = []
    for left in range(processes, 0, -1):
        run, ordered = ordered[: len(ordered) // left], ordered[len(ordered) // left :]
        names.append(list(dict.fromkeys(test.path.name for test in run)))
    return names


def test_each_run_begins_with_its_share_of_the_costly_files() -> None:
    tests = collected(a="...", b="..c", d="....", e="cc.", f="..", g="c..")
    assert runs(tests, 3) == [["e", "a"], ["b", "d"], ["g", "d", "f"]]


def test_a_run_of_costly_files_only_leaves_the_others_to_the_next_one() -> None:
    assert runs(collected(a="..", b="cccccc", c="."), 2) == [["b"], ["b", "a", "c"]]


def test_tests_of_a_file_stay_in_their_order() -> None:
    tests = collected(a="..", b=".c.")
    assert costly_first(tests, 1) == [*tests[2:], *tests[:2]]


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
