"""The form of an account: its fields, and what somebody typed into them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.datastructures import FormData

from console_svc.web.forms import Form, text_of
from console_svc.web.language import text
from console_svc.web.numbers import MAX_COUNT, MAX_NUMBER, whole
from contentgen import Account

WHOLE, NUMBER = text("Should be a whole number."), text("Should be a number.")


def _count(input_text: str) -> int:
    return whole(input_text, 0, MAX_COUNT)


@dataclass(frozen=True, slots=True)
class Field:
    """`label` and `hint` are texts of the page, `problem` is that of a text which `reader` can't read."""

    name: str
    label: str
    hint: str
    reader: Callable[[str], str | int | float] = _count
    problem: str = WHOLE


FIELDS: Sequence[Field] = (
    Field("name", text("Name"), text("For people; 1 to 200 characters."), str),
    Field("max_concurrent_tasks", text("Tasks at once"), text("How many of its tasks may run at once; 0: no limit.")),
    Field(
        "weight",
        text("Weight"),
        text("Its share of the workers beside other accounts: 0.000001 to 1,000."),
        float,
        NUMBER,
    ),
    Field(
        "max_pending_tasks",
        text("Pending tasks"),
        text("How many may be pending, scheduled ones included; 0: no limit."),
    ),
    Field("max_priority", text("Highest priority"), text("That its submits may ask for, 1 to 10; 0: no limit.")),
    Field(
        "max_starts_per_minute",
        text("Starts per minute"),
        text("Attempts that may start within any minute; 0: no limit."),
    ),
    Field(
        "max_asset_bytes",
        text("Bytes of files"),
        text("That may be stored for it; 0: the schedulers' default."),
        partial(whole, least=0, limit=MAX_NUMBER),
    ),
)


class AccountForm(Form):
    """The form of an account. `was` has the texts that the form began with."""

    def __init__(self, typed: Mapping[str, str], was: Mapping[str, str]) -> None:
        super().__init__(typed)
        self.was = was

    @classmethod
    def of(cls, account: Account | None) -> AccountForm:
        """Returns the form of an account as it is stored; None is a new account."""
        settings: Mapping[str, Any] = account or {"name": "", "weight": 1.0}
        typed = {field.name: _text(settings.get(field.name, 0)) for field in FIELDS}
        return cls(typed, typed)

    @classmethod
    def sent(cls, data: FormData) -> AccountForm:
        typed = {field.name: text_of(data, field.name) for field in FIELDS}
        return cls(typed, {name: str(data.get(f"was-{name}", "")) for name in typed})

    def values(self) -> dict[str, Any]:
        """Reads all fields; a field that can't be read has a problem."""
        return {field.name: self.read(field.name, field.reader, field.problem) for field in FIELDS}

    def changes(self) -> dict[str, Any]:
        """Returns the fields that somebody changed: what another has changed meanwhile stays."""
        return {name: value for name, value in self.values().items() if self.typed[name] != self.was[name]}


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
