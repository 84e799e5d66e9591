"""`python -m lab.benchmarks`, or `make bench`: measures the hot paths and prints them beside their goals.

Everything shares this machine, loaders and workers too. Absolute figures are of this machine: compare runs on the
same one, and repeat them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lab.benchmarks.command import add_sizes, chosen_sizes, lent_folder, run_measurement
from lab.benchmarks.conditions import this_machine
from lab.benchmarks.goals import Figure, as_json, as_table
from lab.benchmarks.measures import MEASURES, USUAL, Options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lab.benchmarks", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("measures", nargs="*", metavar="MEASURE", default=list(USUAL), help="what to measure")
    add_sizes(parser, Options)
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="a folder on the disk to measure")
    parser.add_argument("--output", choices=("table", "json"), default="table", help="how to print the figures")
    return parser


def main(argv: Sequence[str]) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    if unknown := sorted(set(arguments.measures) - set(MEASURES)):
        parser.error(f"no such measure: {', '.join(unknown)} (there are {', '.join(MEASURES)})")
    return run_measurement(_run(arguments))


async def _run(arguments: argparse.Namespace) -> None:
    figures: list[Figure] = []
    with lent_folder(arguments.dir, "contentgen-bench-") as folder:
        for name in arguments.measures:
            sys.stderr.write(f"measuring {name} …\n")
            figures += await MEASURES[name](Options(folder, **chosen_sizes(arguments, Options)))
        machine = this_machine(folder)
    print(as_json(figures, machine) if arguments.output == "json" else as_table(figures, machine))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
