"""What a check found, in texts that can be translated; why tasks wait, and what is paused, in words.

Layer: inside doctor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Phrase:
    """An English text with `{name}` filled in; a value may be a phrase."""

    def __init__(self, text: str, **values: object) -> None:
        self.text = text
        self.values: Mapping[str, object] = values

    def __str__(self) -> str:
        return self.said(lambda text, values: text.format(**values))

    def said(self, fill: Callable[[str, Mapping[str, object]], str]) -> str:
        """Returns what `fill` makes of the template and its values; it may translate the template."""
        values = {name: value.said(fill) if isinstance(value, Phrase) else value for name, value in self.values.items()}
        return fill(self.text, values)


def joined(parts: Sequence[Phrase | str], between: str = ", ") -> Phrase | str:
    sentence: Phrase | str = ""
    for part in parts:
        sentence = Phrase("{one}{between}{other}", one=sentence, between=between, other=part) if sentence else part
    return sentence


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


_WAITS_FOR: Mapping[str, Phrase] = {
    "backoff": Phrase("the time before its next attempt (`contentgen task retry` takes the wait away)"),
    "scheduled": Phrase("its schedule time"),
    "account_limit": Phrase("another task of its account to end: as many run as the account may have at once"),
    "rate_limit": Phrase("a minute to pass: as many attempts have started within it as its account may start"),
    "paused": Phrase("`contentgen dispatch resume`: dispatch is paused"),
    "budget": Phrase("the next month, or `contentgen account update ID --max-cost-per-month`: its budget is used up"),
    "no_matching_worker": Phrase("a worker with the labels that they ask for: none is connected"),
    "no_workers": Phrase("a worker: none is connected"),
    "all_slots_busy": Phrase("a free slot: no worker offers one"),
}


def waits_for(pending_reason: str) -> Phrase | str:
    """Returns what a task waits for. Returns a reason that only a newer scheduler knows as it is."""
    return _WAITS_FOR.get(pending_reason, pending_reason)


def paused(everything: bool, account_ids: Sequence[int]) -> Phrase | str:
    """Returns what is paused, as in `everything; accounts 1, 3`. Returns an empty text if nothing is."""
    ids = ", ".join(map(str, account_ids))
    accounts = Phrase("accounts {ids}", ids=ids) if len(account_ids) > 1 else Phrase("account {ids}", ids=ids)
    return joined([*([Phrase("everything")] if everything else []), *([accounts] if account_ids else [])], "; ")
