"""What `python -m lab.chaos` can be told, and its help. Below `__main__`."""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path

from lab.chaos.faults import KINDS
from lab.chaos.figures import PART

_ALL = frozenset(kind.name for kind in KINDS)
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


@dataclass(frozen=True, slots=True)
class Options:
    seed: int
    seconds: float
    workers: int
    rate: float
    submits: float
    faults: frozenset[str]
    keep: Path | None
    json: Path | None
    publish: Path | None
    plan: bool

    @property
    def command(self) -> str:
        kinds = "" if self.faults == _ALL else f" --faults {','.join(sorted(self.faults))}"
        return (
            f"python -m lab.chaos --seed {self.seed} --seconds {self.seconds:g} --rate {self.rate:g}"
            f" --workers {self.workers} --submits {self.submits:g}{kinds}"
        )


def read(arguments: list[str]) -> Options:
    """Returns the options; ends the process with status 2 where they are wrong, with 0 after `--help`."""
    parser = _parser()
    values = vars(parser.parse_args(arguments))
    minutes, names = values.pop("minutes"), values["faults"]
    if minutes is not None:
        values["seconds"] = 60 * minutes
    options = Options(**values | {"faults": _ALL if names is None else frozenset(names.split(","))})
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
    if unknown := options.faults - _ALL:
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
