"""What a developer runs at each save: `make check`. Lint, types, unit tests, and the tests of what changed.

A test has the subject of a module that it imports, or whose folder has the name of its own. Imports of imports do not
count: through its replica a contract test imports the whole scheduler.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.harness.costs import LEVELS
from verification.gate.steps import Step, run

_IMPORT = re.compile(r"^\s*(?:from ([\w.]+) import (\([^)]*\)|.*)|import ([\w.]+))", re.MULTILINE)
_NAME = re.compile(r"\w+")
_LEVEL = re.compile(rf"\bpytest\.mark\.({'|'.join(LEVELS)})\b")


def changed(root: Path) -> list[str]:
    """Paths that differ from where the branch left `main`, committed or not, new ones too; none that was deleted."""
    base = _git(root, "merge-base", "HEAD", "main") or ["HEAD"]
    differing = _git(root, "diff", "--name-only", "--no-renames", "--diff-filter=d", base[0])
    return sorted({*differing, *_git(root, "ls-files", "--others", "--exclude-standard")})


def levels_of_tests(root: Path) -> dict[str, str]:
    """The level of each test file by its path, in the order of `LEVELS`."""
    files = sorted((root / "tests").rglob("test_*.py"))
    matches = {file.relative_to(root).as_posix(): _LEVEL.search(file.read_text(encoding="utf-8")) for file in files}
    by_path = {path: match[1] for path, match in matches.items() if match}
    return dict(sorted(by_path.items(), key=lambda item: [*LEVELS].index(item[1])))


def related_tests(paths: Iterable[str], levels: Mapping[str, str], root: Path) -> list[str]:
    """Returns the test files of what changed, but unit tests: changed ones first, then in the order of `levels`."""
    changes = {*paths}
    modules = {_module(path) for path in changes if path.endswith(".py")}
    subjects = {Path(path).parent.name for path in changes} | {Path(path).stem for path in changes}
    tests = [path for path, level in levels.items() if level != "unit"]
    related = [test for test in tests if Path(test).parent.name in subjects or modules & {*_imports(root / test)}]
    return sorted({*related, *changes.intersection(tests)}, key=lambda test: (test not in changes, tests.index(test)))


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imports(test: Path) -> Iterator[str]:
    for source, names, module in _IMPORT.findall(test.read_text(encoding="utf-8")):
        yield source or module
        yield from (f"{source}.{name}" for name in _NAME.findall(names))


def _git(root: Path, *arguments: str) -> Sequence[str]:
    """Returns the lines that git prints; none if it fails."""
    command = ["git", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout.splitlines()


ROOT = Path(__file__).parents[2]
MAX_FILES = 6
"""Files of tests beside the unit tests: more would take longer than a minute."""
_PYTEST = (sys.executable, "-m", "pytest", "-q")


def main() -> int:
    levels = levels_of_tests(ROOT)
    related = related_tests(changed(ROOT), levels, ROOT)
    cheap = [test for test in related if levels[test] != "e2e"][:MAX_FILES]
    units = [test for test, level in levels.items() if level == "unit"]
    steps = [
        Step("unit", (*_PYTEST, "-n", "3", "--dist", "worksteal", "-m", "not (costly or release)", *units)),
        Step("lint", ("make", "--no-print-directory", "lint")),
        Step("subject", (*_PYTEST, *cheap)),
    ]
    status = run(steps if cheap else steps[:2], side_by_side=2)
    if skipped_tests := [test for test in related if test not in cheap]:
        print(f"not run, though of the same subject:\n  make test ARGS='{' '.join(skipped_tests)}'")
    return status


if __name__ == "__main__":
    sys.exit(main())
