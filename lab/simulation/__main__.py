"""`python -m lab.simulation`, or `make simulate`: what lies beyond one machine, from what was measured on it.

`one-cell` is the measured system, `fleet` many workers on one PostgreSQL, `cells` the loss of one of many cells,
`storm` workers that all reconnect. The same seed gives the same figures. `ceilings` estimates what the costs alone
allow on more cores. The costs are kept: nothing measures them anew.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence

from lab.benchmarks.command import add_sizes, chosen_sizes
from lab.simulation import costs
from lab.simulation.scenarios import SCENARIOS, Row
from lab.simulation.system import Sizes


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lab.simulation", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("scenario", choices=SCENARIOS, help="what to do")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random in a simulation")
    add_sizes(parser, Sizes)
    parser.add_argument("--output", choices=("table", "jsonl"), default="table", help="how to print the figures")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    rows = []
    for row in SCENARIOS[arguments.scenario](costs.load(), Sizes(**chosen_sizes(arguments, Sizes))):
        sys.stderr.write(", ".join(f"{name} {_text(value)}" for name, value in row.items()) + "\n")
        rows.append(row)
    _show(rows, arguments.output)
    return 0


def _show(rows: Sequence[Row], output: str) -> None:
    if output == "jsonl":
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
        return
    heads = list(dict.fromkeys(name for row in rows for name in row))
    lines = [heads, *([_text(row.get(head, "")) for head in heads] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _text(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
