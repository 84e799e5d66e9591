"""What waits for a review, oldest first, as a filter in the address says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode

from starlette.requests import Request

from console_svc.contents.list import read_account, read_label
from console_svc.web.forms import Form, typed_of
from console_svc.web.language import text
from console_svc.web.paging import PAGE_SIZE, first_of
from console_svc.web.sessions import Session
from console_svc.web.values import MAX_NUMBER, moment, whole
from contentgen import Content

_FIELDS = ("account", "category", "label", "score")


class Place(NamedTuple):
    """A place in the queue: two contents may have been made at the same time."""

    created_at: str
    content_id: int

    @classmethod
    def of(cls, content: Content) -> Place:
        return cls(content["created_at"], content["content_id"])

    @classmethod
    def read(cls, text: str) -> Place | None:
        """A place of an address; None if there is none."""
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

    def __init__(self, request: Request) -> None:
        super().__init__(typed_of(request.query_params, _FIELDS))
        self._conditions: dict[str, Any] = {
            "category": self.plain("category"),
            "account_id": self.read("account", read_account, text("An account is a number from 1.")),
            "min_quality_score": self.read("score", float, text("A score is a number.")),
            "labels": self.read("label", read_label, text("A label is a key and a value, such as team=news.")),
        }

    @property
    def query(self) -> str:
        return urlencode(self.typed)

    def contents(self, session: Session, **more: Any) -> AsyncIterator[Content]:
        return session.client.iter_contents(
            review_status="pending_review", page_size=PAGE_SIZE + 1, **self._conditions, **more
        )


@dataclass(frozen=True, slots=True)
class Queue:
    """`items` are `PAGE_SIZE` at most; `more`: others follow; `later`: others come before."""

    items: Sequence[Content]
    more: bool
    later: bool


async def queue_at(session: Session, search: QueueSearch, place: Place | None) -> Queue:
    """The beginning of the queue, or the part of it that begins at a place which the beginning does not reach."""
    if search.problems:
        return Queue((), more=False, later=False)
    items, more = await first_of(search.contents(session, oldest_first=True), PAGE_SIZE)
    later = bool(place and more and Place.of(items[-1]).before(place))
    if place and later:
        part = search.contents(session, oldest_first=True, created_after=place.created_at)
        items, more = await first_of(part, PAGE_SIZE)
    return Queue(items, more, later)


async def candidates(session: Session, search: QueueSearch, after: Place | None, before: Place | None) -> list[Content]:
    """What to open next, best first: what follows `after`, then from the beginning; or what precedes `before`."""
    if search.problems:
        return []
    if before:
        end = datetime.fromisoformat(before.created_at) + timedelta(microseconds=1)
        earlier_contents, _ = await first_of(search.contents(session, created_before=end), PAGE_SIZE)
        return [content for content in earlier_contents if Place.of(content).before(before)]
    oldest_contents, _ = await first_of(search.contents(session, oldest_first=True), PAGE_SIZE)
    if after is None:
        return oldest_contents
    later_contents = search.contents(session, oldest_first=True, created_after=after.created_at)
    next_contents = [
        content for content in (await first_of(later_contents, PAGE_SIZE))[0] if after.before(Place.of(content))
    ]
    next_ids = {content["content_id"] for content in next_contents} | {after.content_id}
    return [*next_contents, *(content for content in oldest_contents if content["content_id"] not in next_ids)]
