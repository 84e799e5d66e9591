"""What every change has to pass: `.ci/run`, or some of its steps by their names.

As many run side by side as the machine has cores. The tests come first since they are the longest.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from verification.gate.steps import Step, chosen, run

FIRST = (
    Step("programs", (".ci/programs",)),
    Step("setup", ("make", "setup")),
)
STEPS = (
    Step("test", ("make", "test")),
    Step("lint", ("make", "lint")),
    Step("verify", ("make", "verify")),
    Step("examples", ("make", "examples")),
    Step("mutants", ("make", "mutants")),
    Step("fuzz", ("make", "fuzz", "ARGS=--seed 1 --calls 8000")),
    Step("chaos", ("make", "chaos", "ARGS=--seed 3207 --seconds 60")),
)


def main(names: Sequence[str]) -> int:
    os.environ["CI"] = "1"
    return run(chosen(STEPS, names), os.cpu_count() or 1, FIRST)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
