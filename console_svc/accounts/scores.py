"""How good the contents of an account were, as far as their creator scored them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from console_svc.web.paging import first_of
from contentgen import AsyncContentGenerationClient, TaskHistoryPoint

LIMIT = 100
"""Contents that are looked at: the newest."""


@dataclass(frozen=True, slots=True)
class Scores:
    """`means` has the mean of each hour or day of a plot, by its time. `cut`: older contents were not looked at."""

    means: Mapping[str, float]
    cut: bool


async def read(client: AsyncContentGenerationClient, account_id: int, points: Sequence[TaskHistoryPoint]) -> Scores:
    """Contents without a score do not count."""
    found: dict[str, list[float]] = defaultdict(list)
    starts = [datetime.fromisoformat(point["time"]) for point in points]
    newest = client.iter_contents(account_id, created_after=starts[0], page_size=LIMIT + 1)
    contents, cut = await first_of(newest, LIMIT)
    for content in contents:
        if content["quality_score"] is not None:
            at = datetime.fromisoformat(content["created_at"]).astimezone(UTC)
            time = points[max(sum(start <= at for start in starts) - 1, 0)]["time"]
            found[time].append(content["quality_score"])
    return Scores({time: sum(each) / len(each) for time, each in found.items()}, cut=cut)
