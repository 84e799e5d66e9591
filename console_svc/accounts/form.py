"""The form of an account: its fields, and what somebody typed into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import FormData

from console_svc.web.language import refused, text
from console_svc.web.numbers import MAX_COUNT, MAX_NUMBER, whole
from contentgen import Account, InvalidArgument


@dataclass(frozen=True, slots=True)
class Field:
    """`label` and `hint` are texts of the page."""

    name: str
    label: str
    hint: str
    whole: bool = True
    """Whether it is a whole number; else see `value`."""
    most: int = MAX_COUNT

    def value(self, text: str) -> str | int | float:
        """What the scheduler takes. Raises ValueError, which says what it should be."""
        if self.name == "name":
            return text
        try:
            return whole(text, 0, self.most) if self.whole else float(text)
        except ValueError:
            raise ValueError(WHOLE if self.whole else NUMBER) from None


WHOLE, NUMBER = text("Should be a whole number."), text("Should be a number.")
FIELDS: Sequence[Field] = (
    Field("name", text("Name"), text("For people; 1 to 200 characters.")),
    Field("max_concurrent_tasks", text("Tasks at once"), text("How many of its tasks may run at once; 0: no limit.")),
    Field(
        "weight",
        text("Weight"),
        text("Its share of the workers beside other accounts: 0.000001 to 1,000."),
        whole=False,
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
        most=MAX_NUMBER,
    ),
)


@dataclass(frozen=True, slots=True)
class AccountForm:
    """`typed`: a text a field; `was`: those that the form began with; `problems`: a text a field, '' for all of it."""

    typed: Mapping[str, str]
    was: Mapping[str, str]
    problems: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, account: Account | None) -> AccountForm:
        """A fresh one; None: of a new account."""
        known: Mapping[str, Any] = account or {"name": "", "weight": 1.0}
        typed = {each.name: _text(known.get(each.name, 0)) for each in FIELDS}
        return cls(typed, typed)

    @classmethod
    def sent(cls, form: FormData) -> AccountForm:
        typed = {each.name: str(form.get(each.name, "")).strip() for each in FIELDS}
        was = {each.name: str(form.get(f"was-{each.name}", "")) for each in FIELDS}
        problems = {}
        for each in FIELDS:
            try:
                each.value(typed[each.name])
            except ValueError as error:
                problems[each.name] = str(error)
        return cls(typed, was, problems)

    def values(self) -> dict[str, Any]:
        """All fields, of a form without problems."""
        return {each.name: each.value(self.typed[each.name]) for each in FIELDS}

    def changes(self) -> dict[str, Any]:
        """The fields that somebody changed: what another has changed meanwhile stays."""
        return {name: value for name, value in self.values().items() if self.typed[name] != self.was[name]}

    def refused(self, error: InvalidArgument) -> AccountForm:
        """With what the scheduler says, beside the fields that it names."""
        said = {each.field.rpartition(".")[2]: each.description for each in error.field_violations}
        known = {name: text for name, text in said.items() if name in self.typed}
        return AccountForm(self.typed, self.was, known or {"": refused(error)})


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
