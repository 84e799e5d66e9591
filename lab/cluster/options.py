"""What `python -m lab.cluster` can be told: options, the steps of a script, and the keys for them. Pure."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

_ANY = frozenset({"scheduler", "worker", "database", "leader", "balancer"})
"""Kinds; of a kind the next one is meant, or one is named (`worker-2`)."""
_MACHINES = frozenset({"database", "leader"})
_SERVICES = frozenset({"scheduler", "worker"})
_WAITS = frozenset({"healthy", "alert"})
_WITH_DISK = frozenset({"worker", "database"})


class CommandError(ValueError):
    """It is no command; the text says what it should be."""


class Command(NamedTuple):
    usage: str
    does: str
    victims: frozenset[str] = frozenset()
    """The kinds that its argument may name; none: it has no such argument."""
    words: frozenset[str] = frozenset()
    """What its argument may be instead of a number."""
    number: bool = False

    @property
    def name(self) -> str:
        return self.usage.partition(" ")[0]


COMMANDS = (
    Command("kill KIND|NAME", "kill -9; KIND is scheduler, worker, database, leader (of --patroni) or balancer", _ANY),
    Command("freeze KIND|NAME", "SIGSTOP", _ANY),
    Command("vanish KIND|NAME", "kill -9, and Prometheus' discovery names it no more", _SERVICES),
    Command("drain KIND|NAME", "TERM: a scheduler or worker finishes what it does, and ends", _SERVICES),
    Command("cut KIND|NAME", "cut a database of --patroni off from the network", _MACHINES),
    Command("demote", "hand over from the leader of --patroni to a standby"),
    Command("starve", "hold all connections that PostgreSQL has"),
    Command("fill KIND|NAME", "leave no space on the disk of a worker or of the database (as root)", _WITH_DISK),
    Command("up", "end all of that now; by itself each ends after --down seconds"),
    Command("roll", "restart schedulers and workers, one after the other"),
    Command("scale N", "drain workers, or start some, until there are N", number=True),
    Command("rate N", "submit N tasks a second", number=True),
    Command(
        "wait N|healthy|alert", "seconds, or until all is well, or until an alert fires", number=True, words=_WAITS
    ),
)

KEYS: Mapping[str, str] = {
    "s": "kill scheduler",
    "w": "kill worker",
    "d": "kill database",
    "b": "kill balancer",
    "S": "freeze scheduler",
    "W": "freeze worker",
    "D": "freeze database",
    "t": "drain worker",
    "c": "starve",
    "f": "fill worker",
    "F": "fill database",
    "r": "roll",
    "u": "up",
}
"""Beside these, `+` and `-` change the number of workers, `0` sets it to none and back, `<` and `>` change the load."""


def parse(step: str) -> Sequence[str]:
    """Returns a step's words. Raises CommandError."""
    words = step.split()
    command = next((command for command in COMMANDS if command.name == words[0]), None) if words else None
    if command is None or len(words) != len(command.usage.split(" ")):
        raise CommandError(f"{step.strip()!r} is no step: {', '.join(known.usage for known in COMMANDS)}")
    if len(words) > 1 and not _fits(words[1], command):
        raise CommandError(f"{words[1]!r} is nothing to {command.name}: it should be {command.usage}")
    return words


def _fits(word: str, command: Command) -> bool:
    if command.number and word.replace(".", "", 1).isdigit():
        return True
    return word in command.words or word.rpartition("-")[0] in command.victims or word in command.victims


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
    patroni: str | None

    @property
    def unattended(self) -> bool:
        """Whether it ends by itself: then all that it has submitted has to be completed."""
        return self.duration is not None or bool(self.script)


def read(arguments: Sequence[str]) -> Options:
    """Returns the options; ends the process with status 2 where they are wrong, with 0 after `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.cluster",
        description="PostgreSQL, schedulers, workers, HAProxy and Prometheus as processes of this machine, under load,"
        " to be killed. Exit status 0: nothing was lost, nothing done twice; 1: something was, or the cluster failed,"
        " or a step of a script could not be done.",
        epilog=_EXAMPLES + "\n".join(f"  {command.usage:<26}{command.does}" for command in COMMANDS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    number: dict[str, Any] = {"type": _count, "metavar": "N"}
    parser.add_argument("--schedulers", **number, default=3, help="how many (default 3)")
    parser.add_argument("--workers", **number, default=5, help="how many (default 5)")
    parser.add_argument("--slots", **number, default=3, help="tasks that a worker runs at once (default 3)")
    parser.add_argument("--rate", type=_positive, metavar="N", default=8.0, help="tasks submitted a second (default 8)")
    parser.add_argument(
        "--run-seconds", type=_positive, metavar="SECONDS", default=0.5, help="how long a CLI runs (default 0.5)"
    )
    seconds: dict[str, Any] = {"type": _positive, "metavar": "SECONDS"}
    parser.add_argument("--lease", **seconds, default=15.0, help="lease time (default 15; a service's own is 120)")
    parser.add_argument("--down", **seconds, default=60.0, help="how long what is done lasts (default 60)")
    parser.add_argument("--duration", **seconds, help="end after so many seconds")
    parser.add_argument("--script", type=_script, default=(), help="do these steps, then end")
    parser.add_argument("--folder", type=Path, help="keep the logs in this folder; by default nothing is kept")
    parser.add_argument(
        "--patroni",
        choices=("hosts", "haproxy"),
        help="three machines with PostgreSQL, Patroni and etcd, by deploy/patroni; schedulers know all their hosts, or"
        " reach the leader through HAProxy (as root)",
    )
    return Options(**vars(parser.parse_args(arguments)))


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
