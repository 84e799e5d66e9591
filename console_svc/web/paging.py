"""Lists, a page at a time. The number of a page stands in the address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeVar

from starlette.requests import Request

PAGE_SIZE = 50
MAX_PAGE = 100
"""The last page: to see more, one filters."""
MAX_FETCH = 1_000
"""What one call may return."""
T = TypeVar("T")


def page_number(request: Request) -> int:
    """From 1; what is no number is the first page."""
    text = request.query_params.get("page", "")
    return max(1, min(int(text), MAX_PAGE)) if text.isascii() and text.isdigit() and len(text) < 5 else 1


def fetched(number: int) -> int:
    """The `page_size` by which a page, and whether more follow, is read in few calls."""
    return min(number * PAGE_SIZE + 1, MAX_FETCH)


async def page_of(items: AsyncIterator[T], number: int) -> tuple[list[T], bool]:
    """The items of a page, and whether more follow."""
    found, more = await first_of(items, number * PAGE_SIZE)
    return found[(number - 1) * PAGE_SIZE :], more and number < MAX_PAGE


async def first_of(items: AsyncIterator[T], limit: int) -> tuple[list[T], bool]:
    """So many items at most, and whether more follow."""
    found: list[T] = []
    async for item in items:
        if len(found) == limit:
            return found, True
        found.append(item)
    return found, False
