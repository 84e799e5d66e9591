"""All pages of a list of contents."""

from __future__ import annotations

from functools import partial

from scheduler_svc.contents.work import list_contents
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.content import ContentFilter
from tests.harness.scheduling import Scheduling

PAGE = 7


def pages(scheduling: Scheduling, scope: Scope, wanted: ContentFilter, *, oldest_first: bool = False) -> list[int]:
    """The ids of all pages together. A page that says where it stopped must not be full."""
    ids: list[int] = []
    after: int | None = None
    lists = partial(list_contents, oldest_first=oldest_first)
    while (page := scheduling.run(lists, scope, wanted, after, PAGE)).contents or page.rest:
        assert page.rest is None or len(page.contents) < PAGE
        ids += [content.content_id for content in page.contents]
        after = page.rest or ids[-1]
    return ids
