"""The review desk: what waits at the left, an article at the right beside its brief, and a key for each decision.

Whoever opens an article holds it: others are given other ones. A decision is made at once, and taken back by
ReopenContent within 10 s. One that waited for those 10 s would be lost with a browser that is closed in them, and the
article would go to somebody else. The price: a publisher may be faster than the editor who takes an approval back; then
the desk says so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from console_svc.contents.content import (
    ABSENT,
    CHANGED,
    answering_task,
    article_of,
    brief_of,
    claimed,
    named_user,
    read_label,
    sent_back,
)
from console_svc.site import BAD, CONFLICT, EDITING, NO_CONTENT, Link, Page, get, post, present
from console_svc.web.filters import Filter
from console_svc.web.forms import Form, text_of, texts_of, typed_of
from console_svc.web.language import refused, text
from console_svc.web.paging import PAGE_SIZE, counted, first_of
from console_svc.web.sessions import UNDO_TIME, Session
from console_svc.web.values import MAX_NUMBER, ids_of, moment, whole
from contentgen import (
    Content,
    EtagMismatchException,
    InvalidStateException,
    RequestError,
    ResourceNotFoundException,
    Unauthenticated,
)

MAX_COUNTED = 99
MAX_TRIES = 10
"""Articles that others may take while one is being opened."""
DECIDED = text("Someone else has decided already.")


async def articles_waiting(session: Session) -> str:
    """Returns how many articles wait, as the navigation shows it; empty for none."""
    contents = session.client.iter_contents(session.account_id, "pending_review", page_size=MAX_COUNTED + 1)
    first_contents, more = await first_of(contents, MAX_COUNTED)
    return counted(len(first_contents), more) if first_contents else ""


FILTERS = {
    "account": Filter(text("Account")),
    "category": Filter(text("Category")),
    "label": Filter(text("Label")),
    "score": Filter(text("Score at least")),
    "assignee": Filter(text("For")),
}


class ReviewDesk(Page):
    link = Link("/review", "Review desk", 40, "ContentService/ReviewContent", EDITING, articles_waiting)

    @get("/review", filters=FILTERS)
    async def open_next(self, request: Request, session: Session) -> Response:
        """Opens what follows `after` or precedes `before`, else the oldest, unless somebody else holds it."""
        search = QueueSearch(request, session)
        params = request.query_params
        after, before = (Place.read(params.get(name, "")) for name in ("after", "before"))
        content_id = await _first_free(session, await candidates(session, search, after, before))
        if content_id is None and before:
            content_id = before.content_id
        if content_id is None:
            return await self._desk(request, session, None, status=BAD if search.problems else 200)
        others = [pair for pair in params.multi_items() if pair[0] not in {*FILTERS, "after", "before"}]
        query = urlencode([*search.typed.items(), *others])
        return self._site.see(f"/review/{content_id}{'?' if query else ''}{query}")

    @get("/review/{content_id:int}", filters=FILTERS)
    async def show(self, request: Request, session: Session, content_id: int) -> Response:
        """Opening an article claims it. That is no harm in a GET: it changes no content, and ends by itself."""
        return await self._desk(request, session, present(await _opened(session, content_id), ABSENT))

    @get("/review/queue")
    async def show_queue(self, request: Request, session: Session) -> Response:
        """Shows the queue alone, which an open page loads again."""
        search = QueueSearch(request, session)
        place = Place.read(request.query_params.get("place", ""))
        values = {"search": search, "queue": await queue_at(session, search, place), "place": place, "session": session}
        return self._site.render(request, "review/queue.html", values)

    async def _desk(
        self, request: Request, session: Session, content: Content | None, form: Form | None = None, status: int = 200
    ) -> Response:
        search, me = QueueSearch(request, session), session.user
        place = Place.of(content) if content else None
        undone_ids, undo_seconds = ([], 0.0) if form else _undo(request)
        queue, article, brief, undone_content = await asyncio.gather(
            queue_at(session, search, place),
            article_of(self._site, content) if content else _none(),
            brief_of(session, content) if content else _none(),
            session.client.get_content(undone_ids[0]) if undone_ids else _none(),
        )
        is_mine = bool(content and content["review_holder"] in {None, me})
        waits = bool(content and content["review_status"] == "pending_review")
        is_undoable = undone_content and undone_content["review_status"] != "pending_review"
        values = {
            "search": search,
            "queue": queue,
            "place": place,
            "content": content,
            "article": article,
            "brief": brief,
            "deciding": waits and is_mine and session.may("ContentService/ReviewContent"),
            "waits": waits,
            "problem": form.problems[""] if form else "",
            "typed": form.typed if form else {},
            "undone": undone_content if is_undoable else None,
            "undone_ids": ",".join(map(str, undone_ids)),
            "undone_count": len(undone_ids),
            "undo_seconds": undo_seconds,
            "undone_task": answering_task(undone_content["review_comment"]) if undone_content else "",
            "others_hold": any(waiting["review_holder"] not in {None, me} for waiting in queue.items),
        }
        return self._site.render(request, "review/desk.html", values, session, status=status)

    @post("/review/{content_id:int}/approve")
    async def approve(self, request: Request, session: Session, content_id: int) -> Response:
        """Approves what was read; with a time it is not published before."""
        form = Form(texts_of(await request.form()))
        scheduled = form.typed.get("when") == "scheduled"
        publish_time = form.time("at", "") if scheduled else None
        if scheduled and publish_time is None:
            return await self._again(request, session, content_id, form, "Say when to publish.")
        return await self._decide(request, session, content_id, form, approve=True, scheduled_at=publish_time)

    @post("/review/{content_id:int}/reject")
    async def reject(self, request: Request, session: Session, content_id: int) -> Response:
        form = Form(texts_of(await request.form()))
        reason = form.plain("reason")
        if not reason:
            return await self._again(request, session, content_id, form, "Say why you reject it.")
        return await self._decide(request, session, content_id, form, approve=False, comment=reason)

    @post("/review/{content_id:int}/send-back")
    async def send_back(self, request: Request, session: Session, content_id: int) -> Response:
        """Has the article written again, and takes it from the queue, which gets the new one.

        The task is submitted first: if the console ends in between, the article is still there to be decided on.
        """
        form = Form(texts_of(await request.form()))
        note = form.plain("note")
        if not note:
            return await self._again(request, session, content_id, form, "Say what to do better.")
        content = await session.client.get_content(content_id)
        if content is None or content["review_status"] != "pending_review" or content["etag"] != form.typed.get("etag"):
            # `_decide` says what is wrong
            return await self._decide(request, session, content_id, form, approve=False, comment=note)
        try:
            task = await session.client.regenerate_content(content_id, note)
        except (Unauthenticated, ResourceNotFoundException):
            raise
        except RequestError as error:
            return await self._again(request, session, content_id, form, refused(error))
        comment = sent_back(note, task["task_id"])
        return await self._decide(request, session, content_id, form, approve=False, comment=comment)

    async def _decide(
        self,
        request: Request,
        session: Session,
        content_id: int,
        form: Form,
        *,
        approve: bool,
        comment: str = "",
        scheduled_at: datetime | None = None,
    ) -> Response:
        try:
            content = await session.client.review_content(
                content_id, approve=approve, comment=comment, etag=form.plain("etag"), scheduled_at=scheduled_at
            )
        except (EtagMismatchException, InvalidStateException) as error:
            problem = CHANGED if isinstance(error, EtagMismatchException) else DECIDED
            return await self._again(request, session, content_id, form, problem, status=CONFLICT)
        return self._next(request, session, str(Place.of(content)), [content_id])

    async def _again(
        self, request: Request, session: Session, content_id: int, form: Form, problem: str, *, status: int = BAD
    ) -> Response:
        form.problems[""] = problem
        return await self._desk(request, session, await _opened(session, content_id), form, status=status)

    def _next(self, request: Request, session: Session, after: str, content_ids: Sequence[int]) -> Response:
        expiry = f"{time.time() + UNDO_TIME:.3f}"
        query = {**QueueSearch(request, session).typed, "decided": ",".join(map(str, content_ids)), "until": expiry}
        return self._site.see(f"/review?{urlencode({**query, 'after': after} if after else query)}")

    @post("/review/approve")
    async def approve_ticked(self, request: Request, session: Session) -> Response:
        """Approves all of the ticked ones as they were when the queue was shown, or none."""
        form = await request.form()
        place = Place.read(text_of(form, "place"))
        back = self._open(request, session, place and place.content_id)
        ticks = [str(value).partition(":") for value in form.getlist("tick")]
        reviews = [
            {"content_id": number, "approve": True, "etag": etag}
            for content_id, _, etag in ticks
            for number in ids_of([content_id])
        ]
        if not reviews:
            session.tell("Tick some first.")
            return back
        try:
            await session.client.review_contents(reviews)
        except (EtagMismatchException, InvalidStateException) as error:
            session.tell("None is approved, because one has changed: {message}", message=refused(error))
            return back
        return self._next(request, session, str(place or ""), [int(str(review["content_id"])) for review in reviews])

    def _open(self, request: Request, session: Session, content_id: int | None) -> Response:
        query = QueueSearch(request, session).query
        path = f"/review/{content_id}" if content_id else "/review"
        return self._site.see(f"{path}?{query}" if query else path)

    @post("/review/undo")
    async def undo(self, request: Request, session: Session) -> Response:
        """Takes decisions back, and cancels the tasks that were to write articles again."""
        content_ids = _ids(text_of(await request.form(), "decided"))
        client = session.client
        for content_id in content_ids:
            content = await client.get_content(content_id)
            try:
                await client.reopen_content(content_id)
            except InvalidStateException as error:
                session.tell("Not taken back: {message}", message=refused(error))
                continue
            if content and (task_id := answering_task(content["review_comment"])):
                await _cancel(session, task_id)
        return self._open(request, session, content_ids[0] if content_ids else None)

    @post("/review/{content_id:int}/claim")
    async def renew(self, request: Request, session: Session, content_id: int) -> Response:
        """Renews the claim, and shows who holds the article now, as a part of the page."""
        values = {"content": await _opened(session, content_id), "session": session}
        return self._site.render(request, "contents/claim.html", values)

    @post("/review/{content_id:int}/release")
    async def release(self, request: Request, session: Session, content_id: int) -> Response:
        """Ends the claim that a page had when it was left; one that was made or renewed since continues."""
        content = await session.client.get_content(content_id)
        expiry = text_of(await request.form(), "until")
        if content and content["review_holder"] == session.user and content["review_claim_expires_at"] == expiry:
            await session.client.release_review(content_id)
        return Response(status_code=NO_CONTENT)


async def _none() -> None:
    return None


async def _opened(session: Session, content_id: int) -> Content | None:
    """Returns the content, which the user holds now if it can be held."""
    return await claimed(session, content_id) or await session.client.get_content(content_id)


async def _first_free(session: Session, contents: Sequence[Content]) -> int | None:
    """Returns the first that nobody else holds; the user holds it now, if that is allowed."""
    if not session.may("ContentService/ClaimReview"):
        return contents[0]["content_id"] if contents else None
    free_contents = [content for content in contents if content["review_holder"] in {None, session.user}]
    for content in free_contents[:MAX_TRIES]:
        if await claimed(session, content["content_id"]):
            return content["content_id"]
    return None


async def _cancel(session: Session, task_id: str) -> None:
    """Cancels a task, unless it has ended, or is not the user's to cancel."""
    if not session.may("TaskService/CancelTask"):
        session.tell("Still regenerating: {task_id}", task_id=task_id)
        return
    try:
        await session.client.cancel_task(task_id, force=True)
    except (InvalidStateException, ResourceNotFoundException):
        session.tell("Already regenerated: {task_id}", task_id=task_id)


def _undo(request: Request) -> tuple[list[int], float]:
    """Returns what was just decided, if it can be taken back, and for how many seconds."""
    params = request.query_params
    try:
        seconds_left = float(params.get("until", "")) - time.time()
    except ValueError:
        return [], 0.0
    content_ids = _ids(params.get("decided", ""))
    return (content_ids, seconds_left) if content_ids and 0 < seconds_left < UNDO_TIME + 1 else ([], 0.0)


def _ids(text: str) -> list[int]:
    return ids_of(text.split(",")[:100])


class Place(NamedTuple):
    """A place in the queue: two contents may have been made at the same time."""

    created_at: str
    content_id: int

    @classmethod
    def of(cls, content: Content) -> Place:
        return cls(content["created_at"], content["content_id"])

    @classmethod
    def read(cls, text: str) -> Place | None:
        """Returns a place of an address; None if there is none."""
        time, _, number = text.rpartition(",")
        try:
            moment(time, UTC)
            return cls(time, whole(number, 0, MAX_NUMBER))
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.created_at},{self.content_id}"

    def before(self, other: Place) -> bool:
        own_time, other_time = moment(self.created_at, UTC), moment(other.created_at, UTC)
        return (own_time, self.content_id) < (other_time, other.content_id)


class QueueSearch(Form):
    """What the address of a request asks for. With a problem it asks for nothing."""

    filters = FILTERS

    def __init__(self, request: Request, session: Session) -> None:
        super().__init__(typed_of(request.query_params, FILTERS), account=session.accounts.number)
        self._conditions: dict[str, Any] = {
            "category": self.plain("category"),
            "account_id": self.account(),
            "min_quality_score": self.read("score", float, text("A score is a number.")),
            "labels": self.read("label", read_label, text("A label is a key and a value, such as team=news.")),
        }

    @property
    def query(self) -> str:
        return urlencode(self.typed)

    async def page(self, session: Session, **more: Any) -> tuple[list[Content], bool]:
        """Returns the first contents that wait, `PAGE_SIZE` at most, and whether others follow."""
        conditions = {**self._conditions, **more}
        waiting = session.client.iter_contents(
            review_status="pending_review",
            page_size=PAGE_SIZE + 1,
            assignee=named_user(session, self.plain("assignee")),
            **conditions,
        )
        return await first_of(waiting, PAGE_SIZE)


class Queue(NamedTuple):
    """`items` are `PAGE_SIZE` at most; `more`: others follow; `later`: others come before."""

    items: Sequence[Content]
    more: bool
    later: bool


async def queue_at(session: Session, search: QueueSearch, place: Place | None) -> Queue:
    """Returns the beginning of the queue, or the part that begins at a place which the beginning does not reach."""
    if search.problems:
        return Queue((), more=False, later=False)
    items, more = await search.page(session, oldest_first=True)
    later = bool(place and more and Place.of(items[-1]).before(place))
    if place and later:
        items, more = await search.page(session, oldest_first=True, created_after=place.created_at)
    return Queue(items, more, later)


async def candidates(session: Session, search: QueueSearch, after: Place | None, before: Place | None) -> list[Content]:
    """Returns what to open next, best first: what follows `after`, then from the start; or what precedes `before`."""
    if search.problems:
        return []
    if before:
        end = datetime.fromisoformat(before.created_at) + timedelta(microseconds=1)
        earlier_contents, _ = await search.page(session, created_before=end)
        return [content for content in earlier_contents if Place.of(content).before(before)]
    oldest_contents, _ = await search.page(session, oldest_first=True)
    if after is None:
        return oldest_contents
    later_contents, _ = await search.page(session, oldest_first=True, created_after=after.created_at)
    next_contents = [content for content in later_contents if after.before(Place.of(content))]
    next_ids = {content["content_id"] for content in next_contents} | {after.content_id}
    return [*next_contents, *(content for content in oldest_contents if content["content_id"] not in next_ids)]
