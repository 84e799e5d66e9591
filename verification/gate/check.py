"""What a developer runs at each save: `make check`. Lint, types, unit tests, and the tests of what changed.

A file has the tests of its subject, which a table names, and those that import it. Imports of imports do not count:
through its replica a contract test imports the whole scheduler.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import zip_longest
from pathlib import Path

from tests.harness.costs import LEVELS
from verification.gate.steps import Step, run

_IMPORT = re.compile(r"^\s*(?:from ([\w.]+) import (\([^)]*\)|.*)|import ([\w.]+))", re.MULTILINE)
_LEVEL = re.compile(rf"\bpytest\.mark\.({'|'.join(LEVELS)})\b")


def changed(root: Path) -> list[str]:
    """Paths that differ from where the branch left `main`, committed or not, new ones too; none that was deleted."""
    base = _git(root, "merge-base", "HEAD", "main") or ["HEAD"]
    differing = _git(root, "diff", "--name-only", "--no-renames", "--diff-filter=d", base[0])
    return sorted({*differing, *_git(root, "ls-files", "--others", "--exclude-standard")})


def levels_of_tests(root: Path) -> dict[str, str]:
    files = sorted((root / "tests").rglob("test_*.py"))
    matches = {file.relative_to(root).as_posix(): _LEVEL.search(file.read_text(encoding="utf-8")) for file in files}
    by_path = {path: match[1] for path, match in matches.items() if match}
    return dict(sorted(by_path.items(), key=lambda item: [*LEVELS].index(item[1])))


SUBJECTS = {
    r"console_svc/(accounts|contents|overview|pool|review|schedules|workers)/": r"console/test_\1",
    r"console_svc/articles/": "console/test_(contents|hostile)",
    r"console_svc/audit/": "console/test_roles",
    r"console_svc/submits/": "console/test_new_tasks",
    r"console_svc/tasks/": "console/test_(one_task|task_list)",
    r"console_svc/webhooks/": "console/test_workers",
    r"console_svc/notifications/": "console/test_workers",
    r"console_svc/(\w+)": r"console_server/|console/test_(\1|overview|sign_in)",
    r"contentgen/(cli|doctor)/": "command/",
    r"contentgen/testing/": "client/test_testing",
    r"(protos/)?contentgen/keda/": "dispatch/test_scaler",
    r"(?:protos/)?contentgen/v1/(\w+?)(_service|_pb2|\.)": r"[a-z]+/test_\1_service|api/test_every",
    r"(?:contentgen/)?(client|stack|old_application)/": r"\1/",
    r"scheduler_svc/admin/": "backups/|database/test_migrations|service/test_config_check",
    r"(contentgen|scheduler_svc)/(config|live_line|_*main|metrics|sandbox|service|certificates|variables)": "service/",
    r"scheduler_svc/domain/(clock|lifecycle|resolution|worker)": "leases/",
    r"scheduler_svc/holdings/": "accounts/test_(erasure|transfer|move)",
    r"scheduler_svc/leases/upload": "assets/test_uploads",
    r"scheduler_svc/(postgres|schema)/": "database/test_(constraints|embedded|migrations)",
    r"scheduler_svc/replica/": "runtime/",
    r"scheduler_svc/(\w+?)s?/\w*(messages|requests|service)": r"\1s?/test_(.*service|publishing|scaler)",
    r"scheduler_svc/(?:domain/)?(\w+)": r"\1s?/",
    r"worker_svc/(asset|creator_user|demo_creator|guard|runner|try)": r"worker/test_\1",
    r"worker_svc/": "worker/test_(broken_cli|run_one|session|streams)",
    r"lab/(\w+)/": r"lab/test_\1",
    r"(deploy|docker)/": "deploy/test_(images|manifests)",
    r"tests/(\w+)/(?!test_)": r"\1/",
    r"examples/|.*\.md$": "deploy/test_shipped|stack/test_documents",
}
"""Where the tests of a file are: the first pattern that its path begins with counts."""


def related_tests(path: str, levels: Mapping[str, str], root: Path) -> list[str]:
    """Returns a file's tests: itself, importing ones of its subject, others of its subject, others that import it."""
    matches = ((re.match(pattern, path), tests) for pattern, tests in SUBJECTS.items())
    subject = next((match.expand(tests) for match, tests in matches if match), "$")
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def nearness(test: str) -> int:
        of_subject = re.match(f"tests/({subject})", test) is not None
        return 4 * (test == path) + 2 * of_subject + (module in _imports(root / test))

    return sorted(filter(nearness, levels), key=nearness, reverse=True)


def nearest_tests(paths: Sequence[str], levels: Mapping[str, str], root: Path) -> list[str]:
    """Returns the test files of these files: changed ones first, then the nearest of each, then the second nearest."""
    by_path = [related_tests(path, levels, root) for path in paths]
    by_rank = dict.fromkeys(test for tests in zip_longest(*by_path) for test in tests if test)
    return sorted(by_rank, key=lambda test: test not in paths)


@cache
def _imports(test: Path) -> frozenset[str]:
    imports = _IMPORT.findall(test.read_text(encoding="utf-8"))
    names = {f"{source}.{name}" for source, names, _ in imports for name in re.findall(r"\w+", names)}
    return frozenset(names | {source or module for source, _, module in imports})


def _git(root: Path, *arguments: str) -> Sequence[str]:
    """Returns the lines that git prints; none if it fails."""
    command = ["git", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout.splitlines()


ROOT = Path(__file__).parents[2]
MAX_FILES = 6
"""Files of tests beside the unit tests: more would take longer than a minute."""
_PYTEST = (sys.executable, "-m", "pytest", "-q")


def main() -> int:
    paths, levels = changed(ROOT), levels_of_tests(ROOT)
    units = [test for test, level in levels.items() if level == "unit"]
    related = nearest_tests(paths, {test: level for test, level in levels.items() if level != "unit"}, ROOT)
    cheap = [test for test in related if levels[test] != "e2e"][:MAX_FILES]
    steps = [
        Step("unit", (*_PYTEST, "-n", "3", "--dist", "worksteal", "-m", "not (costly or release)", *units)),
        Step("lint", ("make", "--no-print-directory", "lint")),
        Step("subject", (*_PYTEST, *cheap)),
    ]
    status = run(steps if cheap else steps[:2], side_by_side=2)
    if skipped_tests := [test for test in related if test not in cheap]:
        print(f"not run, though of the same subject:\n  make test ARGS='{' '.join(skipped_tests)}'")
    if untested := [path for path in paths if not related_tests(path, levels, ROOT)]:
        print(f"no test was found for:\n  {' '.join(untested)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
