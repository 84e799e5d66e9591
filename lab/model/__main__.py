"""`make model`: explores all scenarios and mutants, and says how far it went. `python -m lab.model --help`."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from lab.model.explore import LIMIT, Exploration, explore
from lab.model.mutants import MUTANTS, Mutant
from lab.model.scenarios import SMALL, WIDE, system


def main(arguments: list[str]) -> int:
    """Returns the exit status: 0 where the protocol holds and each mutant is caught, else 1."""
    options = _options(arguments)
    if options.states < 1 or (options.depth is not None and options.depth < 1):
        raise SystemExit("--depth and --states are numbers from 1 on")
    fine = True
    for scenario in SMALL if options.small else (*SMALL, *WIDE):
        bounds = {"depth": options.depth, "limit": options.states}
        exploration = _timed(scenario.name, partial(explore, system(scenario), **bounds))
        fine &= exploration.counter_example is None
    for mutant in MUTANTS:
        exploration = _timed(mutant.name, partial(_explored, mutant))
        fine &= exploration.counter_example is not None and exploration.counter_example.wrong == mutant.shows_as
        with_rule = partial(explore, system(mutant.scenario), depth=exploration.depth)
        fine &= _timed(f"{mutant.name}: with the rule", with_rule).counter_example is None
    print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB at most")
    print("every property holds, and each mutant is caught" if fine else "NOT as it has to be: see above")
    return 0 if fine else 1


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lab.model", description="Explores the lease protocol's model.")
    parser.add_argument("--small", action="store_true", help="only the scenarios that the tests explore too")
    parser.add_argument("--depth", type=int, help="steps from the initial state (default: all there are)")
    parser.add_argument("--states", type=int, default=LIMIT, help="states a scenario, about (default: %(default)s)")
    return parser.parse_args(arguments)


def _explored(mutant: Mutant) -> Exploration[Any]:
    return mutant.explore()[1]


def _timed(name: str, run: Callable[[], Exploration[Any]]) -> Exploration[Any]:
    start = time.monotonic()
    result = run()
    print(f"{name}: {summary(result)} ({time.monotonic() - start:.1f} s)", flush=True)
    return result


def summary(exploration: Exploration[Any]) -> str:
    text = f"{exploration.states:,} states, {exploration.edges:,} steps between them, depth {exploration.depth}"
    if exploration.counter_example is not None:
        return f"{text}; after {len(exploration.counter_example.steps)} steps: {exploration.counter_example.wrong}"
    return f"{text}; {'all of them' if exploration.complete else 'more beyond'}; every property holds"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
