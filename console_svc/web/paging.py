"""Lists, a page at a time. The number of a page stands in the address."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, TypeVar

from starlette.requests import Request

from console_svc.web.forms import Form, typed_of

PAGE_SIZE = 50
MAX_PAGE = 100
"""The last page: to see more, one filters."""
MAX_FETCH = 1_000
"""What one call may return."""
T = TypeVar("T")


def page_number(request: Request) -> int:
    """Returns the number of the page, from 1; what is no number is the first page."""
    text = request.query_params.get("page", "")
    return max(1, min(int(text), MAX_PAGE)) if text.isascii() and text.isdigit() and len(text) < 5 else 1


def fetched(number: int) -> int:
    """Returns the `page_size` by which a page, and whether more follow, is read in few calls."""
    return min(number * PAGE_SIZE + 1, MAX_FETCH)


async def page_of(items: AsyncIterator[T], number: int) -> tuple[list[T], bool]:
    first_items, more = await first_of(items, number * PAGE_SIZE)
    return first_items[(number - 1) * PAGE_SIZE :], more and number < MAX_PAGE


async def account_page(
    request: Request, items: Callable[..., AsyncIterator[T]], read_account: Callable[[str], int | None]
) -> tuple[Sequence[T], Mapping[str, Any]]:
    """Returns the items of the page that the address asks for, of one account or of all, and values for the template.

    `items` lists those of an account (None: of all) by a `page_size`. `bad_account` says why what was typed is none.
    """
    form, number = Form(typed_of(request.query_params, ["account"]), account=read_account), page_number(request)
    page_items: Sequence[T] = ()
    account_id, more = form.account(), False
    if not form.problems:
        page_items, more = await page_of(items(account_id, page_size=fetched(number)), number)
    page = {"account": form.plain("account"), "bad_account": form.problems.get("account", "")}
    return page_items, {**page, "page": number, "more": more}


async def all_of(items: AsyncIterator[T]) -> list[T]:
    return [item async for item in items]


async def taken(items: AsyncIterator[T], limit: int) -> list[T]:
    """Returns at most `limit` items, and reads no further."""
    taken_items: list[T] = []
    async for item in items:
        taken_items.append(item)
        if len(taken_items) == limit:
            break
    return taken_items


def counted(n: int, more: bool) -> str:
    """Returns a number, or that there are more."""
    return f"{n}+" if more else str(n)


async def first_of(items: AsyncIterator[T], limit: int) -> tuple[list[T], bool]:
    """Returns at most `limit` items, and whether more follow."""
    first_items = await taken(items, limit + 1)
    return first_items[:limit], len(first_items) > limit
