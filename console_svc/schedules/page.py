"""Schedules: the list with their next runs, the form with a preview, a cron line in words; pause, run now, delete."""

from __future__ import annotations

import re
from calendar import day_name, month_name
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, get_args

from cron_descriptor import ExpressionDescriptor, Options
from cron_descriptor.Exception import FormatError, MissingFieldError, WrongArgumentError
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from console_svc.site import EDITING, Link, Page, get, post, present
from console_svc.submits.fields import OF_A_SCHEDULE, TYPED, as_typed, read
from console_svc.web.filters import Filter
from console_svc.web.forms import Form, lines, texts_of
from console_svc.web.language import ZH, Texts, language_of, refused, text
from console_svc.web.paging import account_page
from console_svc.web.sessions import Session, permitted
from console_svc.web.values import UTC_ZONE, in_zone, number_of, zone_named, zone_names, zone_of
from console_svc.web.violations import violation
from contentgen import (
    CatchUp,
    FailedPrecondition,
    InvalidArgument,
    Overlap,
    ResourceExhausted,
    ResourceNotFoundException,
    Schedule,
    Task,
)

GONE = text("There is no such schedule.")
SHOWN_TASKS = 20
"""Tasks that the page of a schedule shows, the newest ones; the list of tasks has the others."""
PRESETS = ("0 9 * * *", "0 9 * * 1-5", "0 9 * * 1", "0 9 1 * *", "0 * * * *", "*/30 * * * *")


class Schedules(Page):
    link = Link("/schedules", "Schedules", 70, "ScheduleService/ListSchedules", EDITING)

    @get("/schedules", filters={"account": Filter("Account")})
    async def show(self, request: Request, session: Session) -> Response:
        schedules, page = await account_page(request, session.client.iter_schedules, session.accounts.number)
        rows = [runs_of(schedule, language_of(request)) for schedule in schedules]
        values = {"rows": rows, **page}
        return self._site.render(request, "schedules/list.html", values, session, bad=page["bad_account"])

    @get("/schedules/new")
    async def blank(self, request: Request, session: Session) -> Response:
        return self._form(
            request, session, ScheduleForm({**NEW, **session.chosen("account_id"), "time_zone": zone_of(request).key})
        )

    @post("/schedules/new")
    async def create(self, request: Request, session: Session) -> Response:
        form = ScheduleForm.sent(await request.form(), session)
        arguments = form.arguments()
        try:
            if not form.problems:
                paused = form.typed.get("paused") == "yes"
                schedule = await session.client.create_schedule(**arguments, paused=paused)
                return self._done(session, "Created schedule {schedule_id}.", schedule["schedule_id"])
        except (InvalidArgument, ResourceExhausted, ResourceNotFoundException) as error:
            form.refused(error)
        return self._form(request, session, form)

    @get("/schedules/preview")
    async def preview(self, request: Request, session: Session) -> Response:
        """Shows what a cron line says, and when it would run, while it is typed."""
        line, zone = (request.query_params.get(name, "").strip() for name in ("cron", "time_zone"))
        runs, problems = [], []
        try:
            if line and session.may("ScheduleService/GetNextRuns"):
                runs = await session.client.get_next_runs(line, time_zone=zone or "UTC")
        except InvalidArgument as error:
            problems = [violation(description) for _, description in error.field_violations]
        words = "" if problems else in_words(line, language_of(request))
        values = {"words": words, "preview_runs": local_times(runs, zone or "UTC"), "problems": problems}
        return self._site.render(request, "schedules/preview.html", values, session)

    @get("/schedules/{schedule_id:int}")
    async def one(self, request: Request, session: Session, schedule_id: int) -> Response:
        schedule = present(await session.client.get_schedule(schedule_id), GONE)
        made = session.client.list_tasks(limit=SHOWN_TASKS, schedule_id=schedule_id)
        tasks = await permitted(session.may("TaskService/ListTasks"), made)
        return self._form(request, session, ScheduleForm.of(schedule), schedule, tasks)

    @post("/schedules/{schedule_id:int}")
    async def update(self, request: Request, session: Session, schedule_id: int) -> Response:
        schedule = present(await session.client.get_schedule(schedule_id), GONE)
        form = ScheduleForm.sent(await request.form(), session)
        arguments = form.arguments(schedule)
        try:
            if not form.problems:
                await session.client.update_schedule(schedule_id, **arguments)
                return self._done(session, "Changed schedule {schedule_id}.", schedule_id)
        except InvalidArgument as error:
            form.refused(error)
        return self._form(request, session, form, schedule)

    @post("/schedules/{schedule_id:int}/pause")
    async def pause(self, request: Request, session: Session, schedule_id: int) -> Response:
        await session.client.pause_schedule(schedule_id)
        return self._done(session, "Paused schedule {schedule_id}.", schedule_id, await request.form())

    @post("/schedules/{schedule_id:int}/resume")
    async def resume(self, request: Request, session: Session, schedule_id: int) -> Response:
        await session.client.resume_schedule(schedule_id)
        return self._done(session, "Resumed schedule {schedule_id}.", schedule_id, await request.form())

    @post("/schedules/{schedule_id:int}/delete")
    async def delete(self, _: Request, session: Session, schedule_id: int) -> Response:
        await session.client.delete_schedule(schedule_id)
        return self._site.done(session, "Deleted schedule {schedule_id}.", "/schedules", schedule_id=schedule_id)

    @post("/schedules/{schedule_id:int}/run")
    async def run(self, _: Request, session: Session, schedule_id: int) -> Response:
        """Runs the schedule now, and leads to the task that it has made."""
        try:
            task_id = await session.client.run_schedule(schedule_id)
        except (FailedPrecondition, InvalidArgument, ResourceExhausted) as error:
            return self._site.done(session, refused(error), f"/schedules/{schedule_id}")
        notice = text("Schedule {schedule_id} has submitted this task.")
        return self._site.done(session, notice, f"/tasks/{task_id}", schedule_id=schedule_id)

    def _done(self, session: Session, notice: str, schedule_id: int, form: FormData | None = None) -> Response:
        """Leads to the schedule, or to the list if the form stood there."""
        path = "/schedules" if form and form.get("back") == "list" else f"/schedules/{schedule_id}"
        return self._site.done(session, notice, path, schedule_id=schedule_id)

    def _form(
        self,
        request: Request,
        session: Session,
        form: ScheduleForm,
        schedule: Schedule | None = None,
        tasks: Sequence[Task] | None = None,
    ) -> Response:
        language = language_of(request)
        values = {
            "row": runs_of(schedule, language) if schedule else None,
            "form": form,
            "words": in_words(form.typed.get("cron", ""), language) if "cron" not in form.problems else "",
            "preview_runs": (),
            "problems": (),
            "zones": sorted(zone_names()),
            "fields": OF_A_SCHEDULE,
            "presets": PRESETS,
            "in_words": partial(in_words, language=language),
            "tasks": tasks,
        }
        return self._site.render(request, "schedules/schedule.html", values, session, bad=form.problems)


CATCH_UPS: tuple[CatchUp, ...] = get_args(CatchUp)
OVERLAPS: tuple[Overlap, ...] = get_args(Overlap)
NEW: Mapping[str, str] = {"time_zone": "UTC", "catch_up": "one", "overlap": "allow", "jitter": "0"}
_SETTINGS = ("name", "cron", "time_zone", "catch_up", "overlap", "jitter")


class ScheduleForm(Form):
    def __init__(self, typed: Mapping[str, str], account: Callable[[str], int | None] = number_of) -> None:
        super().__init__(typed, fields=("account_id", *_SETTINGS, *OF_A_SCHEDULE), account=account)

    @classmethod
    def of(cls, schedule: Schedule) -> ScheduleForm:
        settings = {name: schedule[name] for name in ("name", "cron", "time_zone", "catch_up", "overlap")}
        task = as_typed(schedule["template"], OF_A_SCHEDULE)
        return cls({**settings, "jitter": f"{schedule['jitter']:g}", **task})

    @classmethod
    def sent(cls, data: FormData, session: Session) -> ScheduleForm:
        return cls({name: lines(value) for name, value in texts_of(data).items()}, session.accounts.number)

    def arguments(self, before: Schedule | None = None) -> Mapping[str, Any]:
        """Returns those of `create_schedule`, or of `update_schedule` for `before`; what can't be read has a problem.

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


MAX_CRON = 200
MAX_LISTED = 7
"""Days or months that are named one by one."""
_FIELDS = 5
_NAMES = re.compile("|".join([*day_name, *month_name[1:]]))
_STEPS = re.compile(r"(?<![\d,])(\d{1,2})-(\d{1,2})/(\d{1,2})(?= |$)(?!(?: \S+){3})")
"""In the last three fields: days and months."""
_HAN = r"[\u4e00-\u9fff]"
_GAPS = re.compile(rf"(?<={_HAN}) +(?={_HAN})")
_LIST = re.compile(r"((?:星期.|\d+月?)(?:，(?:星期.|\d+月?))*)，和")
_NTH = re.compile(r"，在(第.个|最后一个)(星期.)每月")


@lru_cache(maxsize=1_000)
def in_words(line: str, language: str) -> str:
    """Describes a cron line; empty for what is no cron line, and for one that nobody can put into words."""
    if len(line) > MAX_CRON or len(line.split()) != _FIELDS:
        return ""
    options = Options(use_24hour_time_format=True, locale_code="zh_CN" if language == ZH else "en_US")
    try:
        words = ExpressionDescriptor(_STEPS.sub(_listed, line.upper()), options).get_full_description()
    except (FormatError, MissingFieldError, WrongArgumentError, ValueError, IndexError, KeyError):
        return ""
    return _tidy(words) if language == ZH else words


def _listed(steps: re.Match[str]) -> str:
    """Returns `1,3,5` for `1-5/2`, for which the library has words that mean another thing; a long list stays."""
    first, last, step = map(int, steps.groups())
    numbers = range(first, min(last, 31) + 1, step or 1)
    return ",".join(map(str, numbers)) if 0 < len(numbers) <= MAX_LISTED and step else steps[0]


def _tidy(words: str) -> str:
    """Corrects the Chinese of the library, which has English names of days and months, gaps and commas."""
    texts = Texts(ZH)
    translation = _NAMES.sub(lambda name: texts(name[0]), words).replace(", ", "，").strip()
    translation = _LIST.sub(lambda names: names[1].replace("，", "、") + "和", _GAPS.sub("", translation))
    return _NTH.sub(r"，每月\1\2", translation)


def runs_of(schedule: Schedule, language: str) -> dict[str, object]:
    """Returns a schedule, its cron line in words, and its next runs by the clocks of its zone."""
    next_runs = local_times(schedule["next_runs_at"], schedule["time_zone"])
    return {
        "schedule": schedule,
        "words": in_words(schedule["cron"], language),
        "next_runs": next_runs,
        "error": violation(schedule["last_error"] or ""),
        "missed": [(runs["run_at"], runs["count"], violation(runs["reason"])) for runs in schedule["missed_runs"]],
    }


def local_times(times: Sequence[str], zone: str) -> Sequence[datetime]:
    """Returns times in a zone that the schedulers know; in UTC if this machine does not know it."""
    return [in_zone(text, zone_named(zone) or UTC_ZONE) for text in times]
