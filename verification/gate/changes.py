"""Which files changed, and which tests have the same subject.

A test has the subject of a module that it imports, or after which it is named. Imports of imports do not count: through
its replica a contract test imports the whole scheduler.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

LEVELS = ("verification", "contract", "integration", "console", "e2e")
"""Folders of tests, the cheapest first; `make check` runs all of `tests/unit`."""
_IMPORT = re.compile(r"^\s*(?:from ([\w.]+) import (\([^)]*\)|.*)|import ([\w.]+))", re.MULTILINE)
_NAME = re.compile(r"\w+")


def changed(root: Path) -> list[str]:
    """Paths that differ from where the branch left `main`, committed or not, new ones too; none that was deleted."""
    base = _git(root, "merge-base", "HEAD", "main") or ["HEAD"]
    differing = _git(root, "diff", "--name-only", "--no-renames", "--diff-filter=d", base[0])
    return sorted({*differing, *_git(root, "ls-files", "--others", "--exclude-standard")})


def related_tests(paths: Iterable[str], root: Path) -> list[str]:
    """Returns the test files of what changed, but those of `tests/unit`: changed ones first, then as in `LEVELS`."""
    changes = {*paths}
    modules = {_module(path) for path in changes if path.endswith(".py")}
    names = {f"test_{_subject(path)}.py" for path in changes}
    tests = [path.relative_to(root).as_posix() for level in LEVELS for path in _tests(root / "tests" / level)]
    related = [test for test in tests if Path(test).name in names or modules & {*_imports(root / test)}]
    return sorted({*related, *changes.intersection(tests)}, key=lambda test: (test not in changes, tests.index(test)))


def _tests(folder: Path) -> Iterable[Path]:
    return sorted(folder.rglob("test_*.py"))


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _subject(path: str) -> str:
    return _module(path).rpartition(".")[2] if path.endswith(".py") else Path(path).stem


def _imports(test: Path) -> Iterator[str]:
    for source, names, module in _IMPORT.findall(test.read_text(encoding="utf-8")):
        yield source or module
        yield from (f"{source}.{name}" for name in _NAME.findall(names))


def _git(root: Path, *arguments: str) -> Sequence[str]:
    """Returns the lines that git prints; none if it fails."""
    command = ["git", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout.splitlines()
