"""What every change has to pass, `.ci/run`, and what is too long for that, `.ci/release`; or some steps by their names.

Those of a change run side by side, as many as the machine has cores; the tests come first since they are the longest,
and what measures comes last. Those of a release take hours, one at a time, since some of them measure.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from verification.gate.steps import Need, Step, chosen, run

FIRST = (
    Step("programs", (".ci/programs",)),
    Step("setup", ("make", "setup")),
)
STEPS = (
    Step("test", ("make", "test")),
    Step("lint", ("make", "lint")),
    Step("verify", ("make", "verify")),
    Step("docs", ("make", "docs")),
    Step("examples", ("make", "examples")),
    Step("mutants", ("make", "mutants")),
    Step("fuzz", ("make", "fuzz", "ARGS=--seed 1 --calls 8000")),
    Step("chaos", ("make", "chaos", "ARGS=--seed 3207 --seconds 60")),
    Step("bench-check", ("make", "bench-check"), alone=True),
)

_DEBIANS_PYTHON = "/usr/bin/python3.13"
_DEBIAN = ("make", f"PYTHON={_DEBIANS_PYTHON}", "VENV=build/python3.13")
_VENV_OF_DEBIAN = Need("Debian's python3.13-venv", (_DEBIANS_PYTHON, "-c", "import ensurepip, venv"))
_ENGINE = Need("a docker engine or buildah", ("docker/images.sh", "engine"))
_PATRONI = Need(
    "root, and Debian's patroni, python3-etcd, etcd-server and haproxy",
    ("sh", "-c", "test $(id -u) = 0 && command -v patroni etcd haproxy && /usr/bin/python3 -c 'import etcd'"),
)
_FAILOVERS = "kill leader; wait healthy; cut leader; wait healthy; freeze leader; wait healthy; demote; wait healthy"
_OLD_VERSIONS = (
    "tests/database/test_upgrades.py",
    "tests/deploy/test_rolling.py",
    "tests/backups/test_recovery.py",
    "tests/database/test_failover.py",
    "tests/database/test_migrations.py",
)
_SMALL_MEASURES = "latency-after-burst idle-workers at-rest --burst=200 --batch=100 --samples=10 --idle-workers=20"
"""Measures that are only shown to work: `bench-check` has the others."""

RELEASE_STEPS = (
    Step("measures", ("make", "bench", f"ARGS={_SMALL_MEASURES}")),
    Step("models", ("make", "model")),
    Step("mutants", ("make", "mutants")),
    Step("fuzz", ("make", "fuzz", "ARGS=--calls 400000")),
    Step("chaos", ("make", "chaos", "ARGS=--minutes 30")),
    Step("release-tests", ("make", "test", "ARGS=-n 2 -m release")),
    Step("release", ("make", "release")),
    Step("client-versions", ("make", "client-versions")),
    Step("old-versions", ("make", "test", f"ARGS=-n 2 --outage=60 {' '.join(_OLD_VERSIONS)}")),
    Step(
        "failovers",
        ("make", "cluster", f"ARGS=--patroni hosts --lease 120 --down 40 --script '{_FAILOVERS}'"),
        needs=_PATRONI,
    ),
    Step(
        "python3.13",
        (*_DEBIAN, "test", "ARGS=-n 4 --dist worksteal -m '(unit or contract) and not release'"),
        needs=_VENV_OF_DEBIAN,
    ),
    Step("python3.13-demo", (*_DEBIAN, "demo"), needs=_VENV_OF_DEBIAN),
    Step("images", ("make", "images", "images-check"), needs=_ENGINE),
)


def main(arguments: Sequence[str]) -> int:
    os.environ["CI"] = "1"
    if arguments[:1] == ["--release"]:
        return run(chosen(RELEASE_STEPS, arguments[1:]), first=FIRST)
    return run(chosen(STEPS, arguments), os.cpu_count() or 1, FIRST)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
