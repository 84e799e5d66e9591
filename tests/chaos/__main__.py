"""`make chaos`: hurts a whole system for minutes, by a seed, and judges what became of it. `--help` says how."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
from pathlib import Path

from tests.chaos import campaign
from tests.chaos.disks import DisksUnavailableError, enter_namespace
from tests.chaos.fleet import Shape
from tests.chaos.plan import KINDS, plan
from tests.cluster import server_folder


def main(arguments: list[str]) -> int:
    """The exit status: 0 where no promise was broken, else 1."""
    options = _options(arguments)
    disks = _disks()
    shape = Shape(workers=options.workers)
    faults = plan(
        options.seed,
        options.seconds,
        shape.victims,
        rate=options.rate,
        kinds=[kind.name for kind in KINDS if disks or not kind.needs_disks],
    )
    settings = campaign.Settings(options.seed, options.seconds, shape, faults, disks, options.submits)
    _say(f"seed {options.seed}, {options.seconds:g} s")
    with server_folder() as folder:
        result = campaign.run(settings, folder, _say)
        if options.keep:
            shutil.copytree(folder, options.keep, ignore=shutil.ignore_patterns("postgres", "worker-??", "runs"))
    for wrong in result.wrong:
        _say(f"WRONG: {wrong}")
    return 1 if result.wrong else 0


def _disks() -> bool:
    try:
        enter_namespace()
    except DisksUnavailableError as error:
        _say(f"disks that fill up: not run here ({error})")
        return False
    return True


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Hurts a whole system, and judges.")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--submits", type=float, default=2.5)
    parser.add_argument("--keep", type=Path)
    return parser.parse_args(arguments)


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
