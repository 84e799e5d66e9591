"""`python -m lab.simulation`, or `make simulate`: what lies beyond this machine, from what was measured on it.

`calibrate` measures what the real system costs here and writes it to `lab/simulation/costs.json`: of each part
the round in which the host took the least for others. A round takes 6 minutes. `check` measures costs of its own, runs
the real system and simulates the same thing; a round takes 9 minutes. It exits with 1 if a figure is further off than
20% in its middle round.

The others simulate only: `one-cell` is the measured system, `fleet` many workers on one PostgreSQL, `cells` the loss of
one of many cells, `storm` workers that all reconnect. The same seed gives the same figures. `ceilings` estimates what
the costs alone allow on more cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.benchmarks.command import add_sizes, chosen_sizes, run_measurement
from lab.simulation import calibration, check, costs, derivation
from lab.simulation.scenarios import SCENARIOS
from lab.simulation.system import Sizes

ROUND_TIMEOUT = 1_200.0


def _several(text: str) -> int:
    if (count := int(text)) < 2:
        raise argparse.ArgumentTypeError("2 or more: the pace of a machine changes")
    return count


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lab.simulation", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("scenario", choices=["calibrate", "check", *SCENARIOS], help="what to do")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random in a simulation")
    parser.add_argument("--costs", type=Path, default=costs.DEFAULT, help="where the measured costs are")
    parser.add_argument("--runs", type=_several, default=3, help="rounds of calibrate and check")
    add_sizes(parser, Sizes)
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="a folder on the disk to measure")
    parser.add_argument("--output", choices=("table", "jsonl"), default="table", help="how to print the figures")
    return parser


def main() -> int:
    arguments = _parser().parse_args()
    if arguments.scenario == "calibrate":
        return run_measurement(_calibrate(arguments))
    random.seed(arguments.seed)
    if arguments.scenario == "check":
        return run_measurement(_check(arguments))
    sizes, rows = Sizes(**chosen_sizes(arguments, Sizes)), []
    for row in SCENARIOS[arguments.scenario](costs.load(arguments.costs), sizes):
        sys.stderr.write(", ".join(f"{name} {_text(value)}" for name, value in row.items()) + "\n")
        rows.append(row)
    _show(rows, arguments.output)
    return 0


async def _calibrate(arguments: argparse.Namespace) -> None:
    async with asyncio.timeout(arguments.runs * ROUND_TIMEOUT):
        measured = await calibration.measure(arguments.dir, arguments.runs)
    costs.save(derivation.derive(measured), derivation.explain(measured), arguments.costs)


async def _check(arguments: argparse.Namespace) -> int:
    rounds = []
    for number in range(arguments.runs):
        calibration.say(f"round {number + 1} of {arguments.runs}")
        async with asyncio.timeout(ROUND_TIMEOUT):
            rounds.append(await check.one_round(arguments.dir, arguments.seed))
        for comparison in rounds[-1]:
            calibration.say(f"{comparison.name}: {comparison.deviation:+.0%}")
    compared = check.middle(rounds)
    _show([result.document() for result in compared], arguments.output)
    return 0 if all(result.close for result in compared) else 1


def _show(rows: Sequence[dict[str, Any]], output: str) -> None:
    if output == "jsonl":
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
        return
    heads = list(dict.fromkeys(name for row in rows for name in row))
    lines = [heads, *([_text(row.get(head, "")) for head in heads] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
