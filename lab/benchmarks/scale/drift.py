"""What grows although as much is deleted as comes in: the slope of each figure over the samples of a steady load."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

from lab.benchmarks.scale.rows import Row, Value

HOUR_S = 3600.0
_SHOWN_FROM = 1.0


def drift(table: str, seconds: Sequence[float], series: Mapping[str, Sequence[float]]) -> Iterator[Row]:
    """Yields a row for each figure that reaches 1; none of fewer than two samples."""
    if len(seconds) > 1:
        for name, values in series.items():
            if max(values) >= _SHOWN_FROM:
                yield Row(table, {"what": name, **_values(seconds, values)})


def _values(seconds: Sequence[float], values: Sequence[float]) -> dict[str, Value]:
    slope = statistics.linear_regression(seconds, values).slope * HOUR_S
    return {
        "first": round(values[0], 1),
        "last": round(values[-1], 1),
        "least": round(min(values), 1),
        "most": round(max(values), 1),
        "slope an hour": round(slope, 2),
    }
