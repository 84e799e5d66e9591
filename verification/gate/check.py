"""What a developer runs at each save: `make check`. Lint, types, unit tests, and the tests of what changed."""

from __future__ import annotations

import sys
from pathlib import Path

from verification.gate.changes import changed, levels_of_tests, related_tests
from verification.gate.steps import Step, run

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
