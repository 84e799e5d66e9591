"""`python -m lab.benchmarks.check`, or `make bench-check`: has a hot path lost a quarter of its speed?

Each figure is divided by its floor of the same run, which a slow machine slows as much, and compared with the ratios in
`ratios.json`. Exit status 1 if one is below three quarters of its ratio there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from lab.benchmarks.command import lent_folder, run_measurement
from lab.benchmarks.conditions import this_machine
from lab.benchmarks.goals import Figure
from lab.benchmarks.measures import MEASURES, Options

HOT = ("submit", "batch-submit", "drain", "end-to-end", "latency")
RATIOS = Path(__file__).with_name("ratios.json")


async def ratios(rounds: int, folder: Path) -> dict[str, float]:
    """Returns the median ratio of each figure, the larger the better."""
    ratios_by_name: dict[str, list[float]] = defaultdict(list)
    for number in range(1, rounds + 1):
        for name in HOT:
            sys.stderr.write(f"round {number} of {rounds}: {name} …\n")
            for figure in await MEASURES[name](Options(folder)):
                if not figure.name.endswith("p99"):  # of 300 samples it says more of the machine
                    ratios_by_name[figure.name].append(ratio(figure))
    return {name: statistics.median(values) for name, values in ratios_by_name.items()}


def ratio(figure: Figure) -> float:
    """Returns a figure by its floor; the inverse where less is better."""
    assert figure.floor
    assert figure.goal
    quotient = figure.value / figure.floor.here
    return 1 / quotient if figure.goal.less_is_better else quotient


def lost(before: dict[str, float], now: dict[str, float]) -> list[str]:
    """Returns the figures that are below three quarters of what they were."""
    return [name for name, value in now.items() if name in before and value < 0.75 * before[name]]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lab.benchmarks.check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured; medians count (default: 3)")
    parser.add_argument("--update", action="store_true", help="write the ratios of this run to ratios.json")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="a folder on the disk to measure")
    return run_measurement(_run(parser.parse_args()))


async def _run(arguments: argparse.Namespace) -> int:
    with lent_folder(arguments.dir, "contentgen-bench-") as folder:
        print(this_machine(folder).line, end="\n\n")
        now = await ratios(arguments.rounds, folder)
    former = json.loads(RATIOS.read_text()) if RATIOS.exists() else {}
    print(f"{'figure':36}  {'now':>6}  {'before':>6}")
    for name, value in now.items():
        print(f"{name:36}  {value:6.3f}  {former.get(name, 0):6.3f}")
    if arguments.update:
        RATIOS.write_text(json.dumps({name: round(value, 3) for name, value in now.items()}, indent=2) + "\n")
        return 0
    if worse := lost(former, now):
        print(f"\nlost more than a quarter: {', '.join(worse)}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
