"""What `python -m lab.cluster` can be told, and its help. Below `__main__`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.cluster.commands import COMMANDS, CommandError, parse

_EXAMPLES = """\
examples:
  make cluster                                          until q or Ctrl-C; keys hurt it
  make cluster ARGS='--workers 8 --rate 30'             more workers, more load
  make cluster ARGS='--script "kill scheduler; wait alert; up; wait healthy"'
                                                        no keys needed: ends after the last step
  make cluster ARGS='--duration 60 --folder /tmp/look'  a minute, and the logs stay in /tmp/look

steps of a script, apart by semicolons:
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What was chosen; times in seconds."""

    schedulers: int
    workers: int
    slots: int
    rate: float
    run_seconds: float
    lease: float
    down: float
    duration: float | None
    script: Sequence[Sequence[str]]
    folder: Path | None

    @property
    def unattended(self) -> bool:
        """Whether it ends by itself: then all that it has submitted has to be completed."""
        return self.duration is not None or bool(self.script)


def read(arguments: Sequence[str]) -> Options:
    """Returns the options; ends the process with status 2 where they are wrong, with 0 after `--help`."""
    namespace = _parser().parse_args(arguments)
    return Options(**vars(namespace))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lab.cluster",
        description="PostgreSQL, schedulers, workers, HAProxy and Prometheus as processes of this machine, under load,"
        " to be killed. Exit status 0: nothing was lost, nothing done twice; 1: something was, or the cluster failed,"
        " or a step of a script could not be done.",
        epilog=_EXAMPLES + "\n".join(f"  {command.usage:<26}{command.does}" for command in COMMANDS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--schedulers", type=_count, metavar="N", default=3, help="how many (default 3)")
    parser.add_argument("--workers", type=_count, metavar="N", default=5, help="how many (default 5)")
    parser.add_argument(
        "--slots", type=_count, metavar="N", default=3, help="tasks that a worker runs at once (default 3)"
    )
    parser.add_argument("--rate", type=_positive, metavar="N", default=8.0, help="tasks submitted a second (default 8)")
    parser.add_argument(
        "--run-seconds", type=_positive, metavar="SECONDS", default=0.5, help="how long a CLI runs (default 0.5)"
    )
    parser.add_argument(
        "--lease",
        type=_positive,
        metavar="SECONDS",
        default=15.0,
        help="lease time (default 15; a service's own is 120)",
    )
    parser.add_argument(
        "--down", type=_positive, metavar="SECONDS", default=60.0, help="how long what is done lasts (default 60)"
    )
    parser.add_argument("--duration", type=_positive, metavar="SECONDS", help="end after so many seconds")
    parser.add_argument("--script", type=_script, default=(), help="do these steps, then end")
    parser.add_argument("--folder", type=Path, help="keep the logs in this folder; by default nothing is kept")
    return parser


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 20):
        raise argparse.ArgumentTypeError(f"{text} should be a whole number from 1 to 20")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} should be a number above 0")
    return value


def _script(text: str) -> Sequence[Sequence[str]]:
    try:
        return [parse(step) for step in text.split(";") if step.strip()]
    except CommandError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
