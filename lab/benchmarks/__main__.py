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

from lab.benchmarks import command, floors, report
from lab.benchmarks.folders import lent_folder
from lab.benchmarks.goals import Figure
from lab.benchmarks.measures import MEASURES, USUAL, Options


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lab.benchmarks", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("measures", nargs="*", metavar="MEASURE", default=list(USUAL), help="what to measure")
    parser.add_argument("--workers", type=int, default=2, help="no-op workers")
    parser.add_argument("--depth", type=int, default=2000, help="leases that each of them holds at most")
    parser.add_argument("--accounts", type=int, default=4, help="accounts that the tasks are of, in turn")
    parser.add_argument("--batch", type=int, default=500, help="tasks in a BatchSubmitTasks")
    parser.add_argument("--batch-submits", type=int, default=100_000, help="tasks of the measure batch-submit")
    parser.add_argument("--submits", type=int, default=10_000, help="tasks of the measure submit")
    parser.add_argument("--drain", type=_numbers, default="20000,100000", help="backlogs to drain, by comma")
    parser.add_argument("--lives", type=int, default=floors.LIVES, help="tasks of a drain's floor")
    parser.add_argument("--long", action="store_true", help="drain a backlog of 1,000,000 too")
    parser.add_argument("--end-to-end", type=int, default=60_000, help="tasks of the measure end-to-end")
    parser.add_argument("--burst", type=int, default=250_000, help="tasks that latency-after-burst drains first")
    parser.add_argument("--samples", type=int, default=300, help="samples of a latency")
    parser.add_argument("--idle-workers", type=int, default=1000, help="workers of the measure idle-workers")
    parser.add_argument("--committers", type=int, default=20, help="connections of the measure notify")
    parser.add_argument("--ended", type=int, default=50_000, help="ended tasks of the measure retention")
    parser.add_argument("--pool", type=int, default=20_000, help="workers of the measure worker-pool")
    parser.add_argument("--moves", type=int, default=200_000, help="moves of the measure account-watch")
    parser.add_argument("--fleets", type=_numbers, default="1000,2000", help="idle workers of idle-fleet, by comma")
    parser.add_argument("--leases", type=int, default=30_000, help="leases beside which hello is measured")
    parser.add_argument("--passing", type=int, default=200_000, help="tasks that pass in open-transaction")
    parser.add_argument("--backlog", type=int, default=1_000_000, help="tasks that the measure backlog drains")
    parser.add_argument("--console-tasks", type=int, default=1_000_000, help="tasks beside which console is measured")
    parser.add_argument("--many-accounts", type=int, default=1_000, help="accounts of the measure many-accounts")
    parser.add_argument("--unread-watches", type=int, default=500, help="watches of the measure unread-watches")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="a folder on the disk to measure")
    parser.add_argument("--output", choices=("table", "json"), default="table", help="how to print the figures")
    return parser


def main(given: Sequence[str]) -> int:
    """Measures what the arguments ask for; the exit status."""
    parser = _parser()
    arguments = parser.parse_args(given)
    if unknown := sorted(set(arguments.measures) - set(MEASURES)):
        parser.error(f"no such measure: {', '.join(unknown)} (there are {', '.join(MEASURES)})")
    return command.run(_run(arguments))


def default_options(folder: Path) -> Options:
    """Returns the sizes of a run without arguments."""
    return _options(_parser().parse_args([]), folder)


def _options(arguments: argparse.Namespace, folder: Path) -> Options:
    return Options(
        folder=folder,
        workers=arguments.workers,
        depth=arguments.depth,
        accounts=arguments.accounts,
        batch=arguments.batch,
        submits=arguments.submits,
        batch_submits=arguments.batch_submits,
        drains=(*arguments.drain, 1_000_000) if arguments.long else arguments.drain,
        lives=arguments.lives,
        end_to_end=arguments.end_to_end,
        burst=arguments.burst,
        samples=arguments.samples,
        idle_workers=arguments.idle_workers,
        committers=arguments.committers,
        ended=arguments.ended,
        pool=arguments.pool,
        moves=arguments.moves,
        fleets=arguments.fleets,
        leases=arguments.leases,
        passing=arguments.passing,
        backlog=arguments.backlog,
        console_tasks=arguments.console_tasks,
        many_accounts=arguments.many_accounts,
        unread_watches=arguments.unread_watches,
    )


async def _run(arguments: argparse.Namespace) -> None:
    with lent_folder(arguments.dir, "contentgen-bench-") as folder:
        figures = await _measure(arguments.measures, _options(arguments, folder))
        machine = report.machine(folder)
    print(report.as_json(figures, machine) if arguments.output == "json" else report.as_table(figures, machine))


async def _measure(names: list[str], options: Options) -> list[Figure]:
    figures: list[Figure] = []
    for name in names:
        sys.stderr.write(f"measuring {name} …\n")
        figures += await MEASURES[name](options)
    return figures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
