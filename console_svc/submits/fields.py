"""The fields of a submit, as people type them: what each means, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from console_svc.web.forms import BadValue, Form
from console_svc.web.language import filled, text
from console_svc.web.values import in_zone, moment, pairs, seconds, whole
from contentgen import Task
from contentgen.submit_fields import FIELDS, Field, Kind

Values = dict[str, Any]
"""The arguments of `submit_task`; what was left empty is missing."""
TRUE = frozenset({"true", "yes", "1", "是", "y"})
FALSE = frozenset({"false", "no", "0", "否", "n"})
_DAY = 86_400.0
_BOUNDED = text("It should be a number from {least} to {limit}.")


def _text(field: Field, input_text: str, _: Form) -> str:
    if "\0" in input_text:
        raise BadValue(text("It should have no NUL character."))
    if len(input_text) < field.least:
        raise BadValue(text("It is needed."))
    if len(input_text) > field.most:
        raise BadValue(
            text("It should have {n} characters at most, and has {m}."), n=f"{field.most:,}", m=f"{len(input_text):,}"
        )
    return input_text


def _number(field: Field, input_text: str, _: Form) -> float:
    value = float(input_text)
    if not field.least <= value <= field.most:
        raise ValueError(input_text)
    return value


def _choice(field: Field, input_text: str, _: Form) -> str:
    if input_text not in field.choices:
        raise ValueError(input_text)
    return input_text


def _boolean(_: Field, input_text: str, __: Form) -> bool:
    if input_text.lower() not in TRUE | FALSE:
        raise ValueError(input_text)
    return input_text.lower() in TRUE


def _length(field: Field, input_text: str, _: Form) -> float:
    value = seconds(input_text)
    if not field.least <= value <= field.most:
        problem = text("It should be at least {least} and at most {limit}.")
        raise BadValue(problem, least=short(field.least), limit=short(field.most))
    return value


def _pairs(_: Field, input_text: str, __: Form) -> dict[str, str]:
    """Reads `key=value`, one on each line or several by semicolon."""
    return pairs(input_text.replace(";", "\n").replace("；", "\n").splitlines())


_READERS: Mapping[Kind, tuple[Callable[[Field, str, Form], Any], str]] = {
    Kind.ID: (lambda _, value, form: form.read_account(value), text("The name or the number of an account.")),
    Kind.TEXT: (_text, ""),
    Kind.WORDS: (_text, ""),
    Kind.WHOLE: (lambda field, value, _: whole(value, int(field.least), int(field.most)), _BOUNDED),
    Kind.NUMBER: (_number, _BOUNDED),
    Kind.YES_NO: (_boolean, text("It should be true or false.")),
    Kind.LENGTH: (_length, text("It should be a length of time such as 90s, 30m or 2h.")),
    Kind.TIME: (lambda _, value, form: moment(value, form.zone), text("It should be a time such as 2026-01-31 08:00.")),
    Kind.PAIRS: (_pairs, text("It should be key=value, one a line.")),
    Kind.CHOICE: (_choice, text("Choose one.")),
}
"""By the kind of a field: what reads it, and what its text should be where that raises a plain ValueError."""
TYPED: Mapping[str, Field] = {field.name: field for field in FIELDS if field.name != "request_id"}
"""What people type; the console makes the ids of requests itself."""
OF_A_SCHEDULE: Mapping[str, Field] = {name: field for name, field in TYPED.items() if field.in_schedule}
OF_A_CHANGE: Mapping[str, Field] = {name: field for name, field in TYPED.items() if field.changeable}
WAS = "was-"
"""Before its name: the text that a field of a change was shown with."""
_OF_A_TASK = ("account_id", *(name for name in OF_A_SCHEDULE if name != "creator_options"))


def read(form: Form, fields: Mapping[str, Field] = TYPED, needed: Sequence[str] = ("account_id", "topic")) -> Values:
    """Returns the typed arguments of `submit_task`; what can't be read, or is needed and missing, has a problem."""
    values: Values = {}
    for name, field in fields.items():
        if form.plain(name) and (value := value_of(form, field)) is not None:
            values[name] = value
    for name in needed:
        if name not in values:
            form.problems.setdefault(name, text("It is needed."))
    return values


def value_of(form: Form, field: Field) -> Any:
    """Returns the value of a field; None, and a problem, if it can't be read."""
    (reader, problem), as_typed = _READERS[field.kind], field.rows > 1
    return form.read(
        field.name,
        lambda input_text: reader(field, input_text if as_typed else input_text.strip(), form),
        filled(problem, least=_bound(field.least), limit=_bound(field.most)),
    )


def _bound(number: float) -> str:
    return f"{number:,f}".rstrip("0").rstrip(".")


def changes(form: Form) -> Values:
    """Returns the arguments of `update_task` for what was typed over; what can't be read has a problem.

    A field whose text is as it was shown is left as it is, whatever somebody else has made of it meanwhile.
    """
    typed_over = {name: field for name, field in OF_A_CHANGE.items() if form.plain(name) != form.plain(f"{WAS}{name}")}
    values = read(form, typed_over, needed=("topic",) if "topic" in typed_over else ())
    for name, field in typed_over.items():
        if form.plain(name) or name in form.problems:
            continue
        if field.kind is Kind.TIME:
            values[f"un{name.removesuffix('_time')}"] = True
        else:
            values[name] = _READERS[field.kind][0](field, field.default, form)
    return values


def to_change(task: Task, zone: ZoneInfo) -> dict[str, str]:
    """Returns what a form of a change shows: the texts of the task but for what is as usual, its times in the zone."""
    usual = {name: "true" if field.default == "yes" else field.default for name, field in OF_A_CHANGE.items()}
    texts = {name: text for name, text in as_typed(task, OF_A_CHANGE).items() if text != usual[name]}
    times = {name for name in texts if OF_A_CHANGE[name].kind is Kind.TIME}
    return texts | {name: f"{in_zone(texts[name], zone):%Y-%m-%dT%H:%M:%S}" for name in times}


def of_task(task: Task) -> dict[str, str]:
    """Returns what to type for a task like this one. Its time, its keys and its creator options are left out."""
    return as_typed(task, _OF_A_TASK)


def as_typed(source: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    """Returns what to type so that these fields become what `source` has."""
    texts = {name: written(TYPED[name].kind, source[name]) for name in names}
    return {name: value for name, value in texts.items() if value}


def written(kind: Kind, value: Any) -> str:
    if value is None or (value == 0.0 and kind is Kind.NUMBER):
        return ""
    if kind is Kind.PAIRS:
        return "\n".join(f"{key}={text}" for key, text in sorted(value.items()))
    if kind is Kind.LENGTH:
        return short(value)
    return f"{value:g}" if kind is Kind.NUMBER else str(value).lower() if kind is Kind.YES_NO else str(value)


def short(length: float | None) -> str:
    """Returns a length as `seconds` reads it: `90s`, `30m`, `2h`; empty for None."""
    if length is None:
        return ""
    for unit, name in ((_DAY, "d"), (3_600.0, "h"), (60.0, "m")):
        if length and length % unit == 0:
            return f"{int(length // unit)}{name}"
    return f"{length:g}s"
