"""`python -m lab.benchmarks.autoscaling`: workers follow bursts of tasks from none to some and back, on this machine.

A small autoscaler stands in for KEDA and the HorizontalPodAutoscaler: it asks a real scheduler's ExternalScaler, and
starts and drains real worker processes, whose CLI is the demo creator. It tells how long each burst took to scale and
to drain, and fails if a CLI was stopped or a task was run twice.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from collections import Counter
from pathlib import Path

from lab.benchmarks.autoscaling.autoscaler import Scaling
from lab.benchmarks.autoscaling.experiment import Experiment, Load, Outcome
from tests.harness.stack import EMBEDDED, running_stack


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lab.benchmarks.autoscaling",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--bursts", type=_numbers, default="20,60,10", help="tasks of each burst, by comma")
    parser.add_argument("--slots", type=int, default=3, help="tasks that a worker runs at once")
    parser.add_argument("--max-workers", type=int, default=5, help="workers at most")
    parser.add_argument("--run-seconds", type=float, default=5.0, help="how long a CLI of the first worker runs")
    parser.add_argument("--stabilization", type=float, default=3.0, help="seconds before it scales in")
    parser.add_argument("--poll", type=float, default=1.0, help="seconds between two questions")
    parser.add_argument("--plot", type=Path, help="write a plot to this SVG file (pip install matplotlib)")
    parser.add_argument("--output", choices=("text", "json"), default="text", help="what to print")
    return parser


def main() -> None:
    """Runs it. Exit status 1 if a run was lost."""
    arguments = _parser().parse_args()
    load = Load(arguments.bursts, arguments.slots, arguments.run_seconds)
    scaling = Scaling(arguments.slots, arguments.max_workers, arguments.stabilization, arguments.poll)
    outcome = _run(load, scaling)
    if arguments.plot:
        from lab.benchmarks.autoscaling.plot import draw

        draw(outcome, arguments.plot)
    if arguments.output == "json":
        print(json.dumps(outcome.document(), indent=1))
    sys.exit(_judge(outcome, sum(load.bursts)))


def _run(load: Load, scaling: Scaling) -> Outcome:
    """Shows what the processes said only if it fails."""
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output), running_stack(EMBEDDED) as stack:
            return Experiment(stack, load, scaling, lambda line: print(line, file=sys.stderr, flush=True)).run()
    except BaseException:
        sys.stderr.write(output.getvalue())
        raise


def _judge(outcome: Outcome, tasks: int) -> int:
    lost = outcome.completed != tasks or set(outcome.attempts) != {1} or set(outcome.worker_statuses) != {0}
    output = f"{outcome.completed} of {tasks} tasks completed, by attempts {outcome.attempts}"
    endings = ", ".join(f"{count} with {status}" for status, count in Counter(outcome.worker_statuses).items())
    print(f"{output}; workers that ended: {endings}, of whose CLIs {outcome.runs_in_drains} ran then", file=sys.stderr)
    return int(lost)


if __name__ == "__main__":
    main()
