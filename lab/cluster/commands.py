"""What can be done to a cluster: the words of a script, and the keys for them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

_ANY = frozenset({"scheduler", "worker", "database", "balancer"})
"""Kinds; of a kind the next one is meant, or one is named (`worker-2`)."""
_SERVICES = frozenset({"scheduler", "worker"})
_WAITS = frozenset({"healthy", "alert"})
_WITH_DISK = frozenset({"worker", "database"})


class CommandError(ValueError):
    """It is no command; the text says what it should be."""


class Command(NamedTuple):
    """A step."""

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
    Command("kill KIND|NAME", "kill -9; KIND is scheduler, worker, database or balancer", _ANY),
    Command("freeze KIND|NAME", "SIGSTOP", _ANY),
    Command("drain KIND|NAME", "TERM: a scheduler or worker finishes what it does, and ends", _SERVICES),
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
_BY_NAME: Mapping[str, Command] = {command.name: command for command in COMMANDS}

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
    command = _BY_NAME.get(words[0]) if words else None
    if command is None or len(words) != len(command.usage.split(" ")):
        raise CommandError(
            f"{step.strip()!r} is no step: {', '.join(known_command.usage for known_command in COMMANDS)}"
        )
    if len(words) > 1 and not _fits(words[1], command):
        raise CommandError(f"{words[1]!r} is nothing to {command.name}: it should be {command.usage}")
    return words


def _fits(word: str, command: Command) -> bool:
    if command.number and word.replace(".", "", 1).isdigit():
        return True
    return word in command.words or word.rpartition("-")[0] in command.victims or word in command.victims
