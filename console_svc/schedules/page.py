"""Schedules: the list with their next runs, the form with a preview, pause, run now, delete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from console_svc.schedules.form import NEW, ScheduleForm
from console_svc.schedules.runs import in_words, local_times, runs_of
from console_svc.site import BAD, NOT_FOUND, Link, Site
from console_svc.submits.fields import FOLDED
from console_svc.web.language import language_of, refused, text
from console_svc.web.paging import account_page
from console_svc.web.sessions import Session
from console_svc.web.zones import zone_names, zone_of
from contentgen import FailedPrecondition, InvalidArgument, ResourceExhausted, ResourceNotFoundException, Schedule

_SERVICE = "ScheduleService"
GONE = text("There is no such schedule.")


class Schedules:
    link = Link("/schedules", "Schedules", f"{_SERVICE}/ListSchedules")

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> Sequence[BaseRoute]:
        site = self._site
        return (
            site.page("/schedules", self.show),
            site.page("/schedules/new", self.blank),
            site.form("/schedules/new", self.create),
            site.page("/schedules/preview", self.preview),
            site.page("/schedules/{schedule_id:int}", self.one),
            site.form("/schedules/{schedule_id:int}", self.update),
            site.form("/schedules/{schedule_id:int}/pause", self.pause),
            site.form("/schedules/{schedule_id:int}/resume", self.resume),
            site.form("/schedules/{schedule_id:int}/run", self.run),
            site.form("/schedules/{schedule_id:int}/delete", self.delete),
        )

    async def show(self, request: Request, session: Session) -> Response:
        page = await account_page(request, lambda account, size: session.client.iter_schedules(account, page_size=size))
        values = {
            "rows": [runs_of(schedule, language_of(request)) for schedule in page.items],
            **page.values(),
            **_offered(session),
        }
        return self._site.render(request, "schedules/list.html", values, session, status=BAD if page.bad else 200)

    async def blank(self, request: Request, session: Session) -> Response:
        return self._form(request, session, ScheduleForm({**NEW, "time_zone": zone_of(request).key}))

    async def create(self, request: Request, session: Session) -> Response:
        form = ScheduleForm.sent(await request.form())
        arguments = form.arguments()
        try:
            if not form.problems:
                paused = form.typed.get("paused") == "yes"
                schedule_id = (await session.client.create_schedule(**arguments, paused=paused))["schedule_id"]
                session.tell("Created schedule {schedule_id}.", schedule_id=schedule_id)
                return self._site.see(f"/schedules/{schedule_id}")
        except (InvalidArgument, ResourceExhausted, ResourceNotFoundException) as error:
            form.refused(error)
        return self._form(request, session, form, status=BAD)

    async def preview(self, request: Request, session: Session) -> Response:
        """Shows what a cron line says, and when it would run, while it is typed."""
        line, zone = (request.query_params.get(name, "").strip() for name in ("cron", "time_zone"))
        values = await self._previewed(request, session, line, zone)
        return self._site.render(request, "schedules/preview.html", values, session)

    async def _previewed(self, request: Request, session: Session, line: str, zone: str) -> Mapping[str, Any]:
        runs, problem = [], ""
        try:
            if line and session.may(f"{_SERVICE}/GetNextRuns"):
                runs = await session.client.get_next_runs(line, time_zone=zone or "UTC")
        except InvalidArgument as error:
            problem = "; ".join(f"{name} {description}" for name, description in error.field_violations)
        words = "" if problem else in_words(line, language_of(request))
        return {"words": words, "preview_runs": local_times(runs, zone or "UTC"), "problem": problem}

    async def one(self, request: Request, session: Session) -> Response:
        schedule = await session.client.get_schedule(request.path_params["schedule_id"])
        if schedule is None:
            return self._site.failure(request, session, GONE, NOT_FOUND)
        return self._form(request, session, ScheduleForm.of(schedule), schedule)

    async def update(self, request: Request, session: Session) -> Response:
        schedule_id = request.path_params["schedule_id"]
        schedule = await session.client.get_schedule(schedule_id)
        if schedule is None:
            return self._site.failure(request, session, GONE, NOT_FOUND)
        form = ScheduleForm.sent(await request.form())
        arguments = form.arguments(schedule)
        try:
            if not form.problems:
                await session.client.update_schedule(schedule_id, **arguments)
                session.tell("Changed schedule {schedule_id}.", schedule_id=schedule_id)
                return self._site.see(f"/schedules/{schedule_id}")
        except InvalidArgument as error:
            form.refused(error)
        return self._form(request, session, form, schedule, status=BAD)

    async def pause(self, request: Request, session: Session) -> Response:
        return await self._done(request, session, session.client.pause_schedule, text("Paused schedule {schedule_id}."))

    async def resume(self, request: Request, session: Session) -> Response:
        return await self._done(
            request, session, session.client.resume_schedule, text("Resumed schedule {schedule_id}.")
        )

    async def delete(self, request: Request, session: Session) -> Response:
        await session.client.delete_schedule(request.path_params["schedule_id"])
        session.tell("Deleted schedule {schedule_id}.", schedule_id=request.path_params["schedule_id"])
        return self._site.see("/schedules")

    async def run(self, request: Request, session: Session) -> Response:
        """Runs the schedule now, and leads to the task that it has made."""
        try:
            task_id = await session.client.run_schedule(request.path_params["schedule_id"])
        except (FailedPrecondition, InvalidArgument, ResourceExhausted) as error:
            session.tell(refused(error))
            return self._site.see(_back(request))
        session.tell("Schedule {schedule_id} has submitted this task.", schedule_id=request.path_params["schedule_id"])
        return self._site.see(f"/tasks/{task_id}")

    async def _done(
        self, request: Request, session: Session, call: Callable[[int], Awaitable[Schedule]], notice: str
    ) -> Response:
        schedule_id = request.path_params["schedule_id"]
        await call(schedule_id)
        session.tell(notice, schedule_id=schedule_id)
        return self._site.see("/schedules" if (await request.form()).get("back") == "list" else _back(request))

    def _form(
        self,
        request: Request,
        session: Session,
        form: ScheduleForm,
        schedule: Schedule | None = None,
        *,
        status: int = 200,
    ) -> Response:
        language = language_of(request)
        values = {
            "row": runs_of(schedule, language) if schedule else None,
            "form": form,
            "words": in_words(form.typed.get("cron", ""), language) if "cron" not in form.problems else "",
            "preview_runs": (),
            "problem": "",
            "zones": sorted(zone_names()),
            "folded": FOLDED,
            **_offered(session),
        }
        return self._site.render(request, "schedules/schedule.html", values, session, status=status)


def _back(request: Request) -> str:
    return f"/schedules/{request.path_params['schedule_id']}"


def _offered(session: Session) -> Mapping[str, Any]:
    """Returns what the user may do."""
    names = ("CreateSchedule", "UpdateSchedule", "PauseSchedule", "ResumeSchedule", "RunSchedule", "DeleteSchedule")
    return {"may": {name.removesuffix("Schedule").lower(): session.may(f"{_SERVICE}/{name}") for name in names}}
