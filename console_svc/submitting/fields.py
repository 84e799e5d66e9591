"""The fields of a submit, as people type them: what each means, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from console_svc.web.language import text
from console_svc.web.numbers import MAX_NUMBER, whole
from console_svc.web.times import moment, seconds
from console_svc.web.zones import UTC_ZONE, zone_named
from contentgen import Task

Problem = tuple[str, Mapping[str, object]]
"""A text of a page, with its values."""
Values = dict[str, Any]
"""The arguments of `submit_task`; what was left empty is missing."""
_TRUE = frozenset({"true", "yes", "1", "是", "y"})
_FALSE = frozenset({"false", "no", "0", "否", "n"})
_DAY = 86_400.0


class BadValue(ValueError):
    """`problem` says what the value should be."""

    def __init__(self, english: str, **values: object) -> None:
        super().__init__(english)
        self.problem: Problem = (english, values)


@dataclass(frozen=True, slots=True)
class Field:
    """`name` is that of the form and of `submit_task`; `label` a text of the page; `read` raises BadValue."""

    name: str
    label: str
    read: Callable[[str, tzinfo], Any]


def _words(limit: int) -> Callable[[str, tzinfo], str]:
    def read(given: str, _: tzinfo) -> str:
        if "\0" in given:
            raise BadValue(text("It should have no NUL character."))
        if len(given) > limit:
            raise BadValue(
                text("It should have {n} characters at most, and has {m}."), n=f"{limit:,}", m=f"{len(given):,}"
            )
        return given

    return read


def _whole(least: int, limit: int) -> Callable[[str, tzinfo], int]:
    def read(given: str, _: tzinfo) -> int:
        try:
            return whole(given, least, limit)
        except ValueError:
            if limit == MAX_NUMBER:
                raise BadValue(text("It should be a number, from 1.")) from None
            raise BadValue(text("It should be a number from {least} to {limit}."), least=least, limit=limit) from None

    return read


def _decimal(given: str, _: tzinfo) -> float:
    try:
        value = float(given)
    except ValueError:
        value = 0.0
    if not 1 <= value <= 100:
        raise BadValue(text("It should be a number from {least} to {limit}."), least=1, limit=100)
    return value


def _boolean(given: str, _: tzinfo) -> bool:
    if given.lower() not in _TRUE | _FALSE:
        raise BadValue(text("It should be true or false."))
    return given.lower() in _TRUE


def _length(least: float, limit: float) -> Callable[[str, tzinfo], float]:
    def read(given: str, _: tzinfo) -> float:
        try:
            value = seconds(given)
        except ValueError:
            raise BadValue(text("It should be a length of time such as 90s, 30m or 2h.")) from None
        if not least <= value <= limit:
            raise BadValue(
                text("It should be at least {least} and at most {limit}."), least=short(least), limit=short(limit)
            )
        return value

    return read


def _time(given: str, here: tzinfo) -> datetime:
    try:
        return moment(given, here)
    except ValueError:
        raise BadValue(text("It should be a time such as 2026-01-31 08:00.")) from None


def _pairs(given: str, _: tzinfo) -> dict[str, str]:
    """`key=value`, one a line or several by semicolon."""
    found = {}
    for each in given.replace(";", "\n").replace("；", "\n").splitlines():
        key, equals, value = each.partition("=")
        if key.strip() and equals:
            found[key.strip()] = value.strip()
        elif each.strip():
            raise BadValue(text("It should be key=value, one a line."))
    return found


FIELDS: Sequence[Field] = (
    Field("account_id", text("Account"), _whole(1, MAX_NUMBER)),
    Field("topic", text("Topic"), _words(4_000)),
    Field("keywords", text("Keywords"), _words(2_000)),
    Field("category", text("Category"), _words(200)),
    Field("tone", text("Tone"), _words(200)),
    Field("requirements", text("Requirements"), _words(20_000)),
    Field("priority", text("Priority"), _whole(1, 10)),
    Field("auto_approve", text("Skips the review"), _boolean),
    Field("schedule_time", text("Run not before"), _time),
    Field("labels", text("Labels"), _pairs),
    Field("creator_options", text("Creator options"), _pairs),
    Field("timeout", text("Time limit"), _length(1, 3_650 * _DAY)),
    Field("expire_time", text("Expires"), _time),
    Field("max_retries", text("Retries"), _whole(0, 100)),
    Field("auto_retry", text("Retry by itself"), _boolean),
    Field("initial_backoff", text("First pause"), _length(0.001, 30 * _DAY)),
    Field("backoff_multiplier", text("Growth of pauses"), _decimal),
    Field("max_backoff", text("Longest pause"), _length(0.001, 30 * _DAY)),
    Field("unique_key", text("Unique key"), _words(200)),
    Field("unique_for", text("Unique for"), _length(0, 3_650 * _DAY)),
)
_AS_TYPED = frozenset({"topic", "requirements"})
BY_NAME: Mapping[str, Field] = {field.name: field for field in FIELDS}


def read(typed: Mapping[str, str], here: tzinfo) -> tuple[Values, dict[str, Problem]]:
    """What was typed, as arguments of `submit_task`, and what is wrong, by field."""
    values: Values = {}
    problems: dict[str, Problem] = {}
    for field in FIELDS:
        given = typed.get(field.name, "")
        if not given.strip():
            continue
        try:
            values[field.name] = field.read(given if field.name in _AS_TYPED else given.strip(), here)
        except BadValue as bad:
            problems[field.name] = bad.problem
    for name in ("account_id", "topic"):
        if name not in values and name not in problems:
            problems[name] = (text("It is needed."), {})
    return values, problems


@dataclass(slots=True)
class Form:
    """A form with what was typed into it, and what is wrong. The problem of no field is that of ''."""

    typed: dict[str, str]
    problems: dict[str, Problem]

    @property
    def here(self) -> tzinfo:
        return zone_named(self.typed.get("zone", "")) or UTC_ZONE


def of_task(task: Task) -> dict[str, str]:
    """What to type for a task like this one. Its time, its keys and its creator options are left out."""
    given = {
        "account_id": str(task["account_id"]),
        "topic": task["topic"],
        "keywords": task["keywords"],
        "category": task["category"],
        "tone": task["tone"],
        "requirements": task["requirements"],
        "priority": str(task["priority"]),
        "auto_approve": str(task["auto_approve"]).lower(),
        "labels": "\n".join(f"{key}={value}" for key, value in sorted(task["labels"].items())),
        "timeout": short(task["timeout"]),
        "max_retries": str(task["max_retries"]),
        "auto_retry": str(task["auto_retry"]).lower(),
        "initial_backoff": short(task["initial_backoff"]),
        "backoff_multiplier": f"{task['backoff_multiplier']:g}" if task["backoff_multiplier"] else "",
        "max_backoff": short(task["max_backoff"]),
    }
    return {name: value for name, value in given.items() if value}


def short(length: float | None) -> str:
    """A length as `seconds` reads it: `90s`, `30m`, `2h`; empty for None."""
    if length is None:
        return ""
    for unit, name in ((_DAY, "d"), (3_600.0, "h"), (60.0, "m")):
        if length and length % unit == 0:
            return f"{int(length // unit)}{name}"
    return f"{length:g}s"
