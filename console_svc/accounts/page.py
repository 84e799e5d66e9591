"""The accounts: which of their limits hold tasks back, their tasks and scores; create, edit, deactivate, pause."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from console_svc.site import Link, Page, get, post, present
from console_svc.submits.fields import value_of
from console_svc.tasks import history
from console_svc.web.filters import Filter
from console_svc.web.forms import Form, text_of, typed_of
from console_svc.web.language import PageText, filled, plural, text
from console_svc.web.paging import PAGE_SIZE, first_of, taken
from console_svc.web.security import page_before
from console_svc.web.sessions import Session, permitted
from console_svc.workers.page import pauses
from contentgen import Account, AsyncContentGenerationClient, InvalidArgument, TaskHistoryPoint, TaskStats
from contentgen.account_fields import FIELDS, LIMITS
from contentgen.submit_fields import Field, Kind

MAX_ACCOUNTS = 10_000
SAMPLE = 3
"""Of the newest pending tasks, which are asked why they wait."""


class Accounts(Page):
    link = Link("/accounts", "Accounts", 90, "AccountService/ListAccounts")

    @get("/accounts", filters={"name": Filter("Name")})
    async def list(self, request: Request, session: Session) -> Response:
        """Lists accounts by id. `name` selects those whose name has it; `page` counts from 1."""
        name = request.query_params.get("name", "").strip()
        page_text = request.query_params.get("page", "")
        page = max(int(page_text), 1) if page_text.isascii() and page_text.isdecimal() and len(page_text) < 9 else 1
        all_accounts = await taken(session.client.iter_accounts(), MAX_ACCOUNTS)
        accounts = [
            account
            for account in all_accounts
            if name.lower() in account["name"].lower() and session.account_id in {None, account["account_id"]}
        ]
        page_accounts = accounts[(page - 1) * PAGE_SIZE :][:PAGE_SIZE]
        dispatch, *stats = await asyncio.gather(
            permitted(session.may("WorkerPoolService/GetDispatchStatus"), session.client.get_dispatch_status()),
            *(session.client.get_task_stats(account["account_id"]) for account in page_accounts),
        )
        values = {
            "rows": list(zip(page_accounts, stats, strict=True)),
            "with_workers": with_workers,
            "holds": holds,
            "paused": dispatch["paused_account_ids"] if dispatch else (),
            "name": name,
            "page": page,
            "more": len(accounts) > page * PAGE_SIZE,
        }
        return self._site.render(request, "accounts/list.html", values, session)

    @get("/accounts/{account_id:int}")
    async def show(self, request: Request, session: Session, account_id: int) -> Response:
        account = await _account(session, account_id)
        client, may = session.client, session.may
        span = history.chosen(request.query_params.get("span"), "7d")
        stats, points, today, dispatch, reasons = await asyncio.gather(
            client.get_task_stats(account_id),
            history.read(client, span, account_id),
            history.today(client, account_id),
            permitted(may("WorkerPoolService/GetDispatchStatus"), client.get_dispatch_status()),
            _reasons(session, account_id),
        )
        account_scores = await permitted(may("ContentService/ListContents"), scores(client, account_id, points))
        all_pauses = await pauses(session, dispatch) if dispatch else []
        account_pauses = [pause for pause in all_pauses if pause.account_id in {0, account_id}]
        values = {
            "account": account,
            "limits": LIMITS,
            "stats": stats,
            "with_workers": with_workers(stats),
            "today": today,
            "success": history.success_rate(today),
            "points": points,
            "span": span,
            "spans": history.SPANS,
            "scores": account_scores,
            "score_limit": MAX_SCORED,
            "plots": ("counts", "durations", "cost", *(("score",) if account_scores and account_scores.means else ())),
            "holds": list(holds(account, stats)),
            "reasons": reasons,
            "pauses": account_pauses,
            "paused_itself": any(pause.account_id for pause in account_pauses),
        }
        return self._site.render(request, "accounts/account.html", values, session)

    @get("/accounts/new")
    async def new(self, request: Request, session: Session) -> Response:
        return self._form(request, session, AccountForm.of(None), None)

    @post("/accounts/new")
    async def create(self, request: Request, session: Session) -> Response:
        form = AccountForm.sent(await request.form())
        values = form.values()
        try:
            if not form.problems:
                account = await session.client.create_account(**values)
                return self._done(session, "Account {account} was created.", account["account_id"])
        except InvalidArgument as error:
            form.refused(error)
        return self._form(request, session, form, None)

    @get("/accounts/{account_id:int}/edit")
    async def edit(self, request: Request, session: Session, account_id: int) -> Response:
        return self._form(request, session, AccountForm.of(await _account(session, account_id)), account_id)

    @post("/accounts/{account_id:int}/edit")
    async def update(self, request: Request, session: Session, account_id: int) -> Response:
        form = AccountForm.sent(await request.form())
        changes = form.changes()
        try:
            if changes and not form.problems:
                await session.client.update_account(account_id, **changes)
        except InvalidArgument as error:
            form.refused(error)
        if form.problems:
            return self._form(request, session, form, account_id)
        notice = text("Account {account} was changed.") if changes else text("Nothing was to be changed.")
        return self._done(session, notice, account_id)

    @post("/accounts/{account_id:int}/activate")
    async def activate(self, _: Request, session: Session, account_id: int) -> Response:
        await session.client.update_account(account_id, active=True)
        return self._done(session, "Account {account} takes submits again.", account_id)

    @post("/accounts/{account_id:int}/deactivate")
    async def deactivate(self, _: Request, session: Session, account_id: int) -> Response:
        await session.client.deactivate_account(account_id)
        return self._done(session, "Account {account} takes no submits now.", account_id)

    @post("/account")
    async def switch(self, request: Request, session: Session) -> Response:
        """Switches the whole console to an account, or to all; leads back to the page, without its filter."""
        form = Form(typed_of(await request.form(), ("account", "all")), account=session.accounts.number)
        account_id = None if "all" in form.typed else form.account()
        if form.problems:
            session.tell(form.problems["account"])
        else:
            session.account_id = account_id and (await _account(session, account_id))["account_id"]
        return self._site.see(page_before(request).partition("?")[0].removeprefix(self._site.path("")) or "/")

    def _done(self, session: Session, notice: str, account_id: int) -> Response:
        session.accounts.forget()
        return self._site.done(session, notice, f"/accounts/{account_id}", account=account_id)

    def _form(self, request: Request, session: Session, form: AccountForm, account_id: int | None) -> Response:
        values = {"fields": TYPED, "form": form, "account_id": account_id}
        return self._site.render(request, "accounts/form.html", values, session, bad=form.problems)


async def _account(session: Session, account_id: int) -> Account:
    return present(await session.client.get_account(account_id), "There is no such account.")


async def _reasons(session: Session, account_id: int) -> list[str]:
    """Returns why the newest pending tasks wait, each reason once."""
    tasks = await session.client.list_tasks(account_id, "pending", SAMPLE)
    statuses = await asyncio.gather(*(session.client.get_task_status(task["task_id"]) for task in tasks))
    return list(dict.fromkeys(task["pending_reason"] for task in statuses if task and task["pending_reason"]))


TYPED = tuple(field for field in FIELDS if field.kind is not Kind.YES_NO)


class AccountForm(Form):
    """The form of an account. `was` has the texts that the form began with."""

    def __init__(self, typed: Mapping[str, str], was: Mapping[str, str]) -> None:
        super().__init__(typed)
        self.was = was

    @classmethod
    def of(cls, account: Account | None) -> AccountForm:
        """Returns the form of an account as it is stored; None is a new account."""
        typed = {field.name: _text(field, account) for field in TYPED}
        return cls(typed, typed)

    @classmethod
    def sent(cls, data: FormData) -> AccountForm:
        typed = {field.name: text_of(data, field.name) for field in TYPED}
        return cls(typed, {name: str(data.get(f"was-{name}", "")) for name in typed})

    def values(self) -> dict[str, Any]:
        """Reads all fields; a field that can't be read has a problem."""
        return {field.name: value_of(self, field) for field in TYPED}

    def changes(self) -> dict[str, Any]:
        """Returns the fields that somebody changed: what another has changed meanwhile stays."""
        return {name: value for name, value in self.values().items() if self.typed[name] != self.was[name]}


def _text(field: Field, account: Mapping[str, Any] | None) -> str:
    if account is None:
        return field.default or ("" if field.kind is Kind.TEXT else "0")
    value = account[field.name]
    return f"{value:g}" if isinstance(value, float) else str(value)


MAX_LIMITED = 50
"""Accounts that have a limit and are looked at."""
MAX_SCORED = 100
"""Contents that are looked at: the newest."""


def holds(account: Account, stats: TaskStats) -> Iterator[PageText]:
    """Yields what the account's own settings do to its tasks now."""
    pending, running = stats["counts"]["pending"], with_workers(stats)
    limit, max_pending = account["max_concurrent_tasks"], account["max_pending_tasks"]
    if limit and running >= limit and stats["queue_depth"]:
        waiting = plural(
            "{n} due task waits: {running} running, {limit} allowed at once.",
            "{n} due tasks wait: {running} running, {limit} allowed at once.",
        )
        yield filled(waiting, n=stats["queue_depth"], running=running, limit=limit)
    if max_pending and pending >= max_pending:
        full = text("Submits are refused: {n} of {limit} that may be pending are.")
        yield filled(full, n=pending, limit=max_pending)
    if account["budget_mode"] == "hard" and account["budget_used_up"]:
        yield filled(text("The budget of this month is used up: nothing starts before the next, unless it is raised."))
    if not account["active"] and pending:
        inactive = plural("It is inactive, and {n} task still waits.", "It is inactive, and {n} tasks still wait.")
        yield filled(inactive, n=pending)


def with_workers(stats: TaskStats) -> int:
    return stats["counts"]["submitted"] + stats["counts"]["processing"]


async def held_back(session: Session) -> Sequence[tuple[Account, PageText]]:
    """Returns what holds tasks back, for the first `MAX_LIMITED` accounts that have such a limit."""
    if not (session.may("AccountService/ListAccounts") and session.may("TaskService/GetTaskStats")):
        return ()
    limited_accounts = (
        account
        async for account in session.client.iter_accounts()
        if account["max_concurrent_tasks"]
        or account["max_pending_tasks"]
        or not account["active"]
        or account["max_cost_per_month"]
    )
    accounts = await taken(limited_accounts, MAX_LIMITED)
    stats = await asyncio.gather(*(session.client.get_task_stats(account["account_id"]) for account in accounts))
    pairs = zip(accounts, stats, strict=True)
    return [(account, hold) for account, account_stats in pairs for hold in holds(account, account_stats)]


class Scores(NamedTuple):
    """`means` has the mean of each hour or day of a plot, by its time. `cut`: older contents were not looked at."""

    means: Mapping[str, float]
    cut: bool


async def scores(client: AsyncContentGenerationClient, account_id: int, points: Sequence[TaskHistoryPoint]) -> Scores:
    """Returns the mean scores of contents; contents without a score do not count."""
    scores_by_time: dict[str, list[float]] = defaultdict(list)
    starts = [datetime.fromisoformat(point["time"]) for point in points]
    newest = client.iter_contents(account_id, created_after=starts[0], page_size=MAX_SCORED + 1)
    contents, cut = await first_of(newest, MAX_SCORED)
    for content in contents:
        if content["quality_score"] is not None:
            creation_time = datetime.fromisoformat(content["created_at"]).astimezone(UTC)
            time = points[max(sum(start <= creation_time for start in starts) - 1, 0)]["time"]
            scores_by_time[time].append(content["quality_score"])
    return Scores({time: sum(values) / len(values) for time, values in scores_by_time.items()}, cut=cut)
