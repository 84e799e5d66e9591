"""`make chaos`: hurts a whole system for minutes, by a seed, and judges what became of it. `--help` says how."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from math import inf
from pathlib import Path

from lab.chaos import campaign
from lab.chaos.campaign import ALL, Options
from lab.chaos.faults import KINDS
from lab.chaos.figures import PART, Figures, figures, table
from lab.chaos.fleet import victims
from lab.chaos.plan import plan
from lab.deployment.deployment import enter_namespace
from tests.harness.cluster import server_folder

_DESCRIPTION = """\
Runs two schedulers, PostgreSQL and many small workers as real processes, lets clients submit tasks all the time, and
hurts everything by a plan that a seed makes. In the end a checker compares the journals of clients and CLIs, the
database, the API and what is left on the machine. Exit status 0: no promise was broken; 1: some were, each in a line
that begins with WRONG; 2: the command line is wrong.
"""
_EXAMPLES = """\
examples:
  python -m lab.chaos                         five minutes, a seed by chance (printed first)
  python -m lab.chaos --seed 7 --minutes 120  the same faults at the same times whenever it is run
  python -m lab.chaos --faults worker-kill,guard-kill --seconds 60
  python -m lab.chaos --seed 7 --plan         only print what would be done to whom, and when
  python -m lab.chaos --keep /tmp/found       leave journals and logs there
"""


def read(arguments: list[str]) -> Options:
    """Returns the options; ends the process with status 2 where they are wrong, with 0 after `--help`."""
    parser = _parser()
    values = vars(parser.parse_args(arguments))
    minutes, names = values.pop("minutes"), values["faults"]
    if minutes is not None:
        values["seconds"] = 60 * minutes
    options = Options(**values | {"faults": ALL if names is None else frozenset(names.split(","))})
    for problem in _wrong(options):
        parser.error(problem)
    return options


def _wrong(options: Options) -> Iterator[str]:
    """Yields what would go wrong at once, or only after hours."""
    for name in ("seconds", "rate", "submits"):
        if not 0 < getattr(options, name) < inf:
            yield f"--{name}: has to be above 0"
    if not 1 <= options.workers <= 64:
        yield "--workers: has to be 1 to 64"
    if unknown := options.faults - ALL:
        yield f"--faults: no such kind: {', '.join(sorted(unknown))}; --help lists them"
    if options.keep and options.keep.exists():
        yield f"--keep: {options.keep} is there already: name a folder that is not"
    for path in filter(None, (options.keep, options.json)):
        if not path.absolute().parent.is_dir():
            yield f"{path.absolute().parent} is no folder: make it first"
    if options.publish:
        try:
            PART.read(options.publish.read_text())
        except (OSError, ValueError) as error:
            yield f"--publish: {options.publish} can't have the figures: {error}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lab.chaos",
        description=_DESCRIPTION,
        epilog="\n".join(["kinds of faults:", *(f"  {kind.name:<20}{kind.does}" for kind in KINDS), "", _EXAMPLES]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    any_seed = random.SystemRandom().randrange(1_000_000)
    parser.add_argument("--seed", type=int, default=any_seed, help="of the plan and of the load (default: by chance)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="how long there are faults (default: 5)")
    length.add_argument("--seconds", type=float, help="the same in seconds")
    parser.set_defaults(seconds=300.0)
    parser.add_argument("--faults", metavar="KIND,KIND…", help="only these kinds (default: all)")
    parser.add_argument("--rate", type=float, default=1.0, help="faults a second, about (default: %(default)g)")
    parser.add_argument("--submits", type=float, default=1.5, help="submits a second, about (default: %(default)g)")
    parser.add_argument("--workers", type=int, default=10, help="1 to 64, two slots each (default: %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="copy journals and logs to this new folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    parser.add_argument("--publish", type=Path, metavar="FILE", help="put the table of figures into this document")
    parser.add_argument("--plan", action="store_true", help="print the plan, and do nothing")
    return parser


_say = partial(print, flush=True)
_NOT_KEPT = ("postgres", "assets", "worker-??", "runs", "chaos-creator")


def main(arguments: list[str]) -> int:
    choices = read(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # services are no children that would end with us
    _say(f"seed {choices.seed}, {choices.seconds:g} s of faults; to repeat them: {choices.command}")
    without_disks = None if choices.plan else enter_namespace()
    if without_disks:
        _say(f"disks that fill up: not run here ({without_disks})")
    kinds = [kind.name for kind in KINDS if kind.name in choices.faults and not (without_disks and kind.needs_disks)]
    faults = plan(choices.seed, choices.seconds, victims(choices.workers), rate=choices.rate, kinds=kinds)
    if choices.plan:
        for fault in faults:
            _say(f"{fault.at:8.1f} s  {fault.kind:<20}{fault.victim:<14}{fault.duration:.1f} s")
        return 0
    begin = time.monotonic()
    with server_folder() as folder:
        try:
            result = campaign.run(choices, faults, folder, _say, disks=not without_disks)
        finally:
            if choices.keep:
                shutil.copytree(folder, choices.keep, ignore=shutil.ignore_patterns(*_NOT_KEPT))
    _tell(result, figures(result.evidence), choices)
    _say(f"{time.monotonic() - begin:.0f} s in all")
    return 1 if result.wrong else 0


def _tell(result: campaign.Result, numbers: Figures, choices: Options) -> None:
    _say(f"\n{table(numbers)}\n")
    if result.missed:
        _say(f"{result.missed} faults of the plan met nobody: their victims had not come back from earlier ones")
    if result.stood_still:
        _say(f"PostgreSQL itself stood still {result.stood_still} times, let nobody in and was ended for it")
    for name, times in result.came_up_late.items():
        _say(f"{name} ended {times} times before it served, and was started again")
    for problem in result.wrong[:100]:  # --json has them all
        _say(f"WRONG: {problem}")
    _say("every promise was kept" if not result.wrong else f"{len(result.wrong)} promises were BROKEN: see above")
    if choices.json:
        document = {
            "command": choices.command,
            "seed": choices.seed,
            "seconds": choices.seconds,
            "wrong": list(result.wrong),
            "came_up_late": dict(result.came_up_late),
            **numbers.document(),
        }
        choices.json.write_text(json.dumps(document, indent=2) + "\n")
    if choices.publish:
        text = f"\n`{choices.command}`, on {os.cpu_count()} cores:\n\n{table(numbers)}\n"
        choices.publish.write_text(PART.replaced(choices.publish.read_text(), text))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
