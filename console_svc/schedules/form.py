"""The form of a schedule: what was typed, what is wrong with it, and what it asks of the schedulers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from starlette.datastructures import FormData

from console_svc.submits.fields import OF_A_SCHEDULE, TYPED, Form, as_typed, read
from console_svc.web.language import refused, text
from contentgen import CatchUp, InvalidArgument, Overlap, Schedule

CATCH_UPS: tuple[CatchUp, ...] = get_args(CatchUp)
OVERLAPS: tuple[Overlap, ...] = get_args(Overlap)
NEW: Mapping[str, str] = {"time_zone": "UTC", "catch_up": "one", "overlap": "allow", "jitter": "0"}


class ScheduleForm(Form):
    """The settings of a schedule, and the fields of its task."""

    @classmethod
    def of(cls, schedule: Schedule) -> ScheduleForm:
        """As it stands."""
        settings = {name: schedule[name] for name in ("name", "cron", "time_zone", "catch_up", "overlap")}
        task = as_typed(schedule["template"], OF_A_SCHEDULE)
        return cls({**settings, "jitter": f"{schedule['jitter']:g}", **task}, {})

    @classmethod
    def sent(cls, form: FormData, before: Schedule | None = None) -> tuple[ScheduleForm, Mapping[str, Any]]:
        """What was typed, and the arguments of `create_schedule` and `update_schedule` if it has no problem.

        A field whose text is as it was shown keeps its value `before`, even if people could not type that.
        """
        typed = {name: given.replace("\r\n", "\n") for name, given in form.items() if isinstance(given, str)}
        sent = cls(typed, {})
        template: Mapping[str, Any] = before["template"] if before else {}
        kept = {
            name: template[name]
            for name, shown in as_typed(template, OF_A_SCHEDULE if before else ()).items()
            if typed.get(name) == shown
        }
        changed = {name: field for name, field in OF_A_SCHEDULE.items() if name not in kept}
        if not before:
            changed["account_id"] = TYPED["account_id"]
        task, sent.problems = read(typed, sent.here, changed, needed=())  # a scheduler says what is missing
        account = {} if before else {"account_id": task.pop("account_id", 0)}
        return sent, {**account, **sent._settings(), "task": {**kept, **task}}

    def _settings(self) -> Mapping[str, Any]:
        jitter = 0.0
        try:
            jitter = float(self._text("jitter") or "0")
        except ValueError:
            self.problems["jitter"] = (text("A number of seconds."), {})
        return {
            "cron": self._text("cron"),
            "name": self._text("name"),
            "time_zone": self._text("time_zone") or "UTC",
            "catch_up": self._text("catch_up") if self._text("catch_up") in CATCH_UPS else "one",
            "overlap": self._text("overlap") if self._text("overlap") in OVERLAPS else "allow",
            "jitter": jitter,
        }

    def refused(self, error: InvalidArgument) -> None:
        """Takes over what the schedulers say of each field."""
        for name, description in error.field_violations:
            self.problems[name.removeprefix("template.").partition("[")[0]] = (description, {})
        if not error.field_violations:
            self.problems[""] = (refused(error), {})

    def _text(self, name: str) -> str:
        return self.typed.get(name, "").strip()
