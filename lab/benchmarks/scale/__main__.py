"""`python -m lab.benchmarks.scale`, or `make bench-scale`: what changes as backlog, workers, accounts and hours grow.

Each case starts a scheduler with a fresh database, and checks the counts: a wrong one ends the run. A row goes to the
file of results as soon as it is known, so a run that is cut off leaves what it had. All of it shares this machine,
loaders and workers too: compare rows of one case, not of two machines.

  make bench-scale                                          all cases, hours
  make bench-scale ARGS=--quick                             small sizes, a minute or two: shows that it works
  make bench-scale ARGS='--cases steady --steady-seconds 600'
  python -m lab.benchmarks.scale --from FILE --plots DIR    the tables of kept rows, and plots (these need matplotlib)

The numbers of tasks are multiples of 500.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from lab.benchmarks import conditions
from lab.benchmarks.command import lent_folder, run_measurement
from lab.benchmarks.kept import add_arguments, line_of, show_kept
from lab.benchmarks.peers.figures import OURS
from lab.benchmarks.scale import tables
from lab.benchmarks.scale.case import Case, Row, Run, Sizes, read_rows
from lab.benchmarks.scale.tables import CASES


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lab.benchmarks.scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default=",".join(CASES), help="what to measure, by comma (default: %(default)s)")
    results = Path("build/scale.jsonl")
    parser.add_argument(
        "--results", type=Path, metavar="FILE", default=results, help="rows go to its end (%(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes")
    add_arguments(parser)
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="a folder on the disk to measure")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="measure in this folder, and leave it: what is filled is used again"
    )
    for case in CASES.values():
        group = parser.add_argument_group(f"{case.name}: {case.takes}", case.text)
        for name, size in case.sizes.items():
            text = f"{size.text} (default: {','.join(map(str, size.usual))})"
            group.add_argument(f"--{case.name}-{name}", type=_numbers, metavar="N", help=text)
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text} must be 1 or more, or several such numbers by comma")
    return tuple(map(int, parts))


def main(argv: Sequence[str]) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.kept:
        return show_kept(arguments, read_rows, tables.tables, tables.part(arguments.kept), tables.draw)
    if arguments.plots or arguments.page:
        parser.error("--plots and --page go with --from")
    names = arguments.cases.split(",")
    if unknown := sorted(set(names) - set(CASES)):
        parser.error(f"no such case: {', '.join(unknown)} (there are {', '.join(CASES)})")
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    return run_measurement(_measure(arguments, {name: _sizes(arguments, CASES[name]) for name in names}))


def _sizes(arguments: argparse.Namespace, case: Case) -> dict[str, tuple[int, ...]]:
    values = {name: getattr(arguments, f"{case.name}_{name}".replace("-", "_")) for name in case.sizes}
    return {name: values[name] or (size.quick if arguments.quick else size.usual) for name, size in case.sizes.items()}


def _folder(arguments: argparse.Namespace) -> AbstractContextManager[Path]:
    if arguments.keep is None:
        return lent_folder(arguments.dir, "contentgen-scale-")
    arguments.keep.mkdir(mode=0o711, parents=True, exist_ok=True)
    return nullcontext(arguments.keep)


async def _measure(arguments: argparse.Namespace, cases: dict[str, dict[str, tuple[int, ...]]]) -> None:
    begin = time.monotonic()
    with arguments.results.open("a") as results, _folder(arguments) as folder:

        def keep(record: Run | Row, text: str) -> None:
            results.write(line_of(record) + "\n")
            results.flush()
            sys.stderr.write(f"{time.monotonic() - begin:6.0f} s  {text}\n" if text else "")

        run = Run(
            **asdict(conditions.now(folder)),
            versions={package: version(package) for package in OURS.packages},
            sizes={case: {name: list(size) for name, size in sizes.items()} for case, sizes in cases.items()},
        )
        keep(run, f"measuring {', '.join(run.sizes)}; rows go to {arguments.results}")
        for case, sizes in cases.items():
            chosen = Sizes(sizes, quick=arguments.quick)
            await CASES[case].measure(folder, chosen, lambda row: keep(row, tables.line(row)))
    print(f"python -m lab.benchmarks.scale --from {arguments.results} shows the tables")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
