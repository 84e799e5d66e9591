"""The form of a schedule: what was typed, what is wrong with it, and what it asks of the schedulers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from starlette.datastructures import FormData

from console_svc.web.language import refused
from console_svc.web.numbers import number_of
from contentgen import CatchUp, InvalidArgument, Overlap, Schedule

_TEXTS = ("topic", "keywords", "category", "tone", "requirements")
PRIORITIES = ("", *map(str, range(1, 11)))
_YES_NO = {"yes": True, "no": False}
CATCH_UPS: tuple[CatchUp, ...] = get_args(CatchUp)
OVERLAPS: tuple[Overlap, ...] = get_args(Overlap)
NEW: Mapping[str, str] = {"time_zone": "UTC", "catch_up": "one", "overlap": "allow", "jitter": "0"}


@dataclass(frozen=True, slots=True)
class ScheduleForm:
    """`texts`: by the field's name, as they were typed. `problems`: what is wrong, by the field's name."""

    texts: Mapping[str, str]
    problems: dict[str, str] = field(default_factory=dict)

    @classmethod
    def typed(cls, form: FormData) -> ScheduleForm:
        typed = cls({name: text.strip() for name, text in form.items() if isinstance(text, str)})
        try:
            number_of(typed.texts.get("account", ""))
        except ValueError:
            typed.problems["account"] = "The number of an account."
        if typed.texts.get("priority", "") not in PRIORITIES:
            typed.problems["priority"] = "A number from 1 to 10."
        try:
            float(typed.texts.get("jitter") or "0")
        except ValueError:
            typed.problems["jitter"] = "A number of seconds."
        return typed

    @classmethod
    def of(cls, schedule: Schedule) -> ScheduleForm:
        """As it stands."""
        task = schedule["template"]
        texts = {name: cast("str | None", task.get(name)) or "" for name in _TEXTS}
        given = {True: "yes", False: "no", None: ""}[task["auto_approve"]]
        return cls(
            {
                **texts,
                "name": schedule["name"],
                "cron": schedule["cron"],
                "time_zone": schedule["time_zone"],
                "catch_up": schedule["catch_up"],
                "overlap": schedule["overlap"],
                "jitter": f"{schedule['jitter']:g}",
                "priority": str(task["priority"] or ""),
                "auto_approve": given,
            }
        )

    @property
    def account(self) -> int:
        return int(self.texts.get("account") or 0)

    def settings(self, before: Schedule | None = None) -> dict[str, Any]:
        """The arguments of `create_schedule` and `update_schedule`. What the form has not stays as it was `before`."""
        template: Mapping[str, Any] = dict(before["template"]) if before else {}
        kept = {name: value for name, value in template.items() if value is not None}
        task = {**kept, **{name: self.texts.get(name, "") for name in _TEXTS}}
        for name, value in (("priority", self._priority), ("auto_approve", _YES_NO.get(self._text("auto_approve")))):
            task.pop(name, None)
            if value is not None:
                task[name] = value
        return {
            "cron": self._text("cron"),
            "task": task,
            "name": self._text("name"),
            "time_zone": self._text("time_zone") or "UTC",
            "catch_up": self._text("catch_up") if self._text("catch_up") in CATCH_UPS else "one",
            "overlap": self._text("overlap") if self._text("overlap") in OVERLAPS else "allow",
            "jitter": float(self._text("jitter") or "0"),
        }

    def refused(self, error: InvalidArgument) -> None:
        """Takes over what the schedulers say of each field."""
        for name, description in error.field_violations:
            known = name.removeprefix("template.")
            self.problems["account" if known == "account_id" else known] = description
        if not error.field_violations:
            self.problems[""] = refused(error)

    @property
    def _priority(self) -> int | None:
        return int(text) if (text := self._text("priority")) else None

    def _text(self, name: str) -> str:
        return self.texts.get(name, "")
