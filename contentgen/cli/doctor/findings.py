"""What a check found. Layer: the bottom of doctor."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum

from contentgen.cli.documents import Document


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    """It works, and somebody should look at it."""
    FAIL = "fail"
    """Something does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's."""

    check: str
    level: Level
    message: str
    advice: str = ""
    """What to do; empty where nothing is to be done."""

    def document(self) -> Document:
        return {**asdict(self), "advice": self.advice or None}


def ok(check: str, message: str) -> Finding:
    return Finding(check, Level.OK, message)


def warn(check: str, message: str, advice: str) -> Finding:
    return Finding(check, Level.WARN, message, advice)


def fail(check: str, message: str, advice: str) -> Finding:
    return Finding(check, Level.FAIL, message, advice)
