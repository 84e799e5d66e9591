"""Files with costly tests begin first, each in one of the runs that xdist gives its processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from tests.harness.order import costly_first


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
