"""Lists of the console, a page at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from console_svc.web.paging import page_of


@pytest.mark.parametrize(
    ("number", "length", "page", "more"), [(1, 50, 50, False), (1, 51, 50, True), (2, 51, 1, False), (3, 51, 0, False)]
)
async def test_a_list_is_cut_into_pages(number: int, length: int, page: int, more: bool) -> None:
    async def items() -> AsyncIterator[int]:
        for item in range(length):
            yield item

    entries, follows = await page_of(items(), number)
    assert (len(entries), follows) == (page, more)
