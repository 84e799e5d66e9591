"""The form of a schedule: what was typed, what is wrong with it, and what it asks of the schedulers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from starlette.datastructures import FormData

from console_svc.submits.fields import OF_A_SCHEDULE, TYPED, as_typed, read
from console_svc.web.forms import Form, lines, texts_of
from console_svc.web.language import text
from contentgen import CatchUp, Overlap, Schedule

CATCH_UPS: tuple[CatchUp, ...] = get_args(CatchUp)
OVERLAPS: tuple[Overlap, ...] = get_args(Overlap)
NEW: Mapping[str, str] = {"time_zone": "UTC", "catch_up": "one", "overlap": "allow", "jitter": "0"}
_SETTINGS = ("name", "cron", "time_zone", "catch_up", "overlap", "jitter")


class ScheduleForm(Form):
    """The settings of a schedule, and the fields of its task."""

    def __init__(self, typed: Mapping[str, str]) -> None:
        super().__init__(typed, fields=("account_id", *_SETTINGS, *OF_A_SCHEDULE))

    @classmethod
    def of(cls, schedule: Schedule) -> ScheduleForm:
        """Returns the form with the settings of a stored schedule."""
        settings = {name: schedule[name] for name in ("name", "cron", "time_zone", "catch_up", "overlap")}
        task = as_typed(schedule["template"], OF_A_SCHEDULE)
        return cls({**settings, "jitter": f"{schedule['jitter']:g}", **task})

    @classmethod
    def sent(cls, data: FormData) -> ScheduleForm:
        return cls({name: lines(value) for name, value in texts_of(data).items()})

    def arguments(self, before: Schedule | None = None) -> Mapping[str, Any]:
        """Of `create_schedule`, or of `update_schedule` for what is there `before`. What can't be read has a problem.

        A field whose text is as it was shown keeps its value, even if people could not type that.
        """
        template: Mapping[str, Any] = before["template"] if before else {}
        kept_values = {
            name: template[name]
            for name, typed_text in as_typed(template, OF_A_SCHEDULE if before else ()).items()
            if self.typed.get(name) == typed_text
        }
        changed_fields = {name: field for name, field in OF_A_SCHEDULE.items() if name not in kept_values}
        if not before:
            changed_fields["account_id"] = TYPED["account_id"]
        task = read(self, changed_fields, needed=())  # a scheduler says what is missing
        account = {} if before else {"account_id": task.pop("account_id", 0)}
        return {**account, **self._settings(), "task": {**kept_values, **task}}

    def _settings(self) -> Mapping[str, Any]:
        catch_up, overlap = self.plain("catch_up"), self.plain("overlap")
        jitter = self.read("jitter", lambda number: float(number.strip() or 0), text("A number of seconds."))
        return {
            "cron": self.plain("cron"),
            "name": self.plain("name"),
            "time_zone": self.plain("time_zone") or "UTC",
            "catch_up": catch_up if catch_up in CATCH_UPS else "one",
            "overlap": overlap if overlap in OVERLAPS else "allow",
            "jitter": jitter or 0.0,
        }
