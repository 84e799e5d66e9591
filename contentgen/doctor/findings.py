"""What a check found. Layer: inside doctor."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from contentgen.doctor.phrases import Phrase


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    """It works, and somebody should look at it."""
    FAIL = "fail"
    """Something does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report. A text that is no phrase is not translated."""

    check: str
    level: Level
    message: Phrase | str
    advice: Phrase | str = ""
    """What to do; empty where nothing is to be done."""

    def document(self) -> dict[str, str | None]:
        return {
            "check": self.check,
            "level": self.level,
            "message": str(self.message),
            "advice": str(self.advice) or None,
        }


def ok(check: str, message: Phrase | str) -> Finding:
    return Finding(check, Level.OK, message)


def warn(check: str, message: Phrase | str, advice: Phrase | str) -> Finding:
    return Finding(check, Level.WARN, message, advice)


def fail(check: str, message: Phrase | str, advice: Phrase | str) -> Finding:
    return Finding(check, Level.FAIL, message, advice)
