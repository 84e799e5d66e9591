"""The accounts: their limits, their tasks, how they did; create, edit, deactivate, pause."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from console_svc.accounts.figures import MAX_SCORED, holds, scores, with_workers
from console_svc.accounts.form import FIELDS, AccountForm
from console_svc.site import BAD, NOT_FOUND, Link, Site
from console_svc.tasks import history
from console_svc.web.language import text
from console_svc.web.paging import PAGE_SIZE
from console_svc.web.sessions import Session, permitted
from console_svc.workers.state import pauses
from contentgen import Account, InvalidArgument, PendingReason

MAX_ACCOUNTS = 10_000
SAMPLE = 3
"""Of the newest pending tasks, which are asked why they wait."""


class Accounts:
    link = Link("/accounts", "Accounts", "AccountService/ListAccounts")

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> Sequence[BaseRoute]:
        site = self._site
        return (
            site.page("/accounts", self.list),
            site.page("/accounts/new", self.new),
            site.form("/accounts/new", self.create),
            site.page("/accounts/{account_id:int}", self.show),
            site.page("/accounts/{account_id:int}/edit", self.edit),
            site.form("/accounts/{account_id:int}/edit", self.update),
            site.form("/accounts/{account_id:int}/activate", self.activate),
            site.form("/accounts/{account_id:int}/deactivate", self.deactivate),
        )

    async def list(self, request: Request, session: Session) -> Response:
        """Lists accounts by id. `name` selects those whose name has it; `page` counts from 1."""
        name = request.query_params.get("name", "").strip()
        page_text = request.query_params.get("page", "")
        page = max(int(page_text), 1) if page_text.isascii() and page_text.isdecimal() and len(page_text) < 9 else 1
        accounts = [account for account in await _all(session) if name.lower() in account["name"].lower()]
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
            "creates": session.may("AccountService/CreateAccount") and not session.caller["account_ids"],
        }
        return self._site.render(request, "accounts/list.html", values, session)

    async def show(self, request: Request, session: Session) -> Response:
        account_id = request.path_params["account_id"]
        account = await session.client.get_account(account_id)
        if account is None:
            return self._absent(request, session)
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
        account_pauses = (
            [pause for pause in await pauses(session, dispatch) if pause.account_id in {0, account_id}]
            if dispatch
            else []
        )
        values = {
            "account": account,
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

    async def new(self, request: Request, session: Session) -> Response:
        return self._form(request, session, AccountForm.of(None), None)

    async def create(self, request: Request, session: Session) -> Response:
        form = AccountForm.sent(await request.form())
        values = form.values()
        try:
            if not form.problems:
                account = await session.client.create_account(**values)
                session.tell("Account {account} was created.", account=account["account_id"])
                return self._site.see(f"/accounts/{account['account_id']}")
        except InvalidArgument as error:
            form.refused(error)
        return self._form(request, session, form, None)

    async def edit(self, request: Request, session: Session) -> Response:
        account = await session.client.get_account(request.path_params["account_id"])
        if account is None:
            return self._absent(request, session)
        return self._form(request, session, AccountForm.of(account), account["account_id"])

    async def update(self, request: Request, session: Session) -> Response:
        account_id = request.path_params["account_id"]
        form = AccountForm.sent(await request.form())
        changes = form.changes()
        try:
            if changes and not form.problems:
                await session.client.update_account(account_id, **changes)
        except InvalidArgument as error:
            form.refused(error)
        if form.problems:
            return self._form(request, session, form, account_id)
        session.tell(
            text("Account {account} was changed.") if changes else text("Nothing was to be changed."),
            account=account_id,
        )
        return self._site.see(f"/accounts/{account_id}")

    async def activate(self, request: Request, session: Session) -> Response:
        account = await session.client.update_account(request.path_params["account_id"], active=True)
        session.tell("Account {account} takes submits again.", account=account["account_id"])
        return self._site.see(f"/accounts/{account['account_id']}")

    async def deactivate(self, request: Request, session: Session) -> Response:
        account = await session.client.deactivate_account(request.path_params["account_id"])
        session.tell("Account {account} takes no submits now.", account=account["account_id"])
        return self._site.see(f"/accounts/{account['account_id']}")

    def _form(self, request: Request, session: Session, form: AccountForm, account_id: int | None) -> Response:
        values = {"fields": FIELDS, "form": form, "account_id": account_id}
        return self._site.render(request, "accounts/form.html", values, session, status=BAD if form.problems else 200)

    def _absent(self, request: Request, session: Session) -> Response:
        return self._site.failure(request, session, "There is no such account.", NOT_FOUND)


async def _all(session: Session) -> list[Account]:
    """Lists the accounts by id, `MAX_ACCOUNTS` at most."""
    accounts: list[Account] = []
    async for account in session.client.iter_accounts():
        accounts.append(account)
        if len(accounts) == MAX_ACCOUNTS:
            break
    return accounts


async def _reasons(session: Session, account_id: int) -> list[PendingReason]:
    """Returns why the newest pending tasks wait, each reason once."""
    tasks = await session.client.list_tasks(account_id, "pending", SAMPLE)
    statuses = await asyncio.gather(*(session.client.get_task_status(task["task_id"]) for task in tasks))
    return list(dict.fromkeys(task["pending_reason"] for task in statuses if task and task["pending_reason"]))
