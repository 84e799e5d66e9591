"""A histogram for hot paths: it takes the values of a whole group, with one lock a group instead of two a value."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from threading import Lock

from prometheus_client import Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Distribution(Collector):
    """Any thread may use it."""

    def __init__(self, name: str, documentation: str, label: str, bounds: Sequence[float]) -> None:
        """`bounds`: the upper bounds of the buckets, but for infinity."""
        self._name = name
        self._documentation = documentation
        self._label = label
        self._bounds = bounds
        self._les = [*map(floatToGoString, bounds), "+Inf"]
        self._lock = Lock()
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, label: str, values: Sequence[float]) -> None:
        buckets = Counter([bisect_left(self._bounds, value) for value in values])
        total = sum(values)
        with self._lock:
            counts = self._counts.setdefault(label, [0] * len(self._les))
            for bucket, n in buckets.items():
                counts[bucket] += n
            self._sums[label] = self._sums.get(label, 0.0) + total

    def describe(self) -> Iterable[Metric]:
        yield self._family()

    def collect(self) -> Iterable[Metric]:
        family = self._family()
        with self._lock:
            present = [(label, list(counts), self._sums[label]) for label, counts in self._counts.items()]
        for label, counts, total in present:
            buckets = list(zip(self._les, map(float, accumulate(counts)), strict=True))
            family.add_metric([label], buckets=buckets, sum_value=total)
        yield family

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._documentation, labels=[self._label])
