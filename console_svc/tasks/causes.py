"""Why tasks stay failed: the newest ones, counted by their error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode

from contentgen import AsyncContentGenerationClient, TaskStatus

FAILED: Sequence[TaskStatus] = ("failed", "timeout")
MAX_COUNTED = 500
"""Failed tasks that are looked at: the newest."""
SINCE = timedelta(days=3)
"""Older tasks are no news."""


class Cause(NamedTuple):
    reason: str
    """Empty: none is known."""
    n: int
    query: str
    """Of the address of the list that has them."""

    @property
    def retry(self) -> str:
        return f"{self.query}&do=retry&all=yes"


class Causes(NamedTuple):
    causes: Sequence[Cause]
    """The most frequent first."""
    cut: bool
    """Whether older tasks were not looked at."""


async def causes_of(
    client: AsyncContentGenerationClient,
    account_id: int | None = None,
    query: Sequence[tuple[str, str]] = (),
    **conditions: Any,
) -> Causes:
    """Returns the causes of failed tasks that meet `conditions`, which are `query` in an address.

    Without conditions: of those that were submitted in the last days.
    """
    if not query:
        first = (datetime.now(UTC) - SINCE).replace(second=0, microsecond=0)
        query = [("after", first.strftime("%Y-%m-%dT%H:%M")), ("zone", "UTC")]
        conditions = {"created_after": first}
    states = [state for state in FAILED if ("status", state) in query] or FAILED
    page = await client.get_task_page(account_id, states, page_size=MAX_COUNTED, **conditions)
    counts = Counter(task["error_reason"] or "" for task in page["tasks"])
    kept = [(name, value) for name, value in query if name not in {"status", "reason"}]
    kept += (("status", state) for state in states)
    causes = [
        Cause(reason, n, urlencode([*kept, *([("reason", reason)] if reason else [])]))
        for reason, n in counts.most_common()
    ]
    return Causes(causes, cut=bool(page["next_page_token"]))
