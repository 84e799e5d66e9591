"""Fills a database with years of ended tasks, and says how large it is. The next cases of the run find it there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from lab.benchmarks.scale import sizes_of_tables
from lab.benchmarks.scale.case import Case, Sizes
from lab.benchmarks.scale.filled import FILL, filled, years
from lab.benchmarks.scale.rows import Row

TABLE = "fill: sizes"


async def measure(folder: Path, sizes: Sizes) -> AsyncIterator[Row]:
    """Yields a row for each table."""
    async with filled(folder, years(sizes)) as stack:
        for row in await asyncio.to_thread(sizes_of_tables.rows, stack, TABLE):
            yield row


CASE = Case("fill", "Years of ended tasks, by SQL past the scheduler.", "10 minutes, 13 GB", measure, FILL)
