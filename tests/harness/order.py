"""The order of tests: files with costly tests begin first, so that none of them is what all wait for in the end.

xdist's `worksteal` gives each of its processes an equal run of neighbours, and lets who is done take from the end of
another run. So each run begins with its share of the costly files. The tests of a file stay together: they share
fixtures.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import pytest

Tests = list[pytest.Item]


def costly_first(tests: Sequence[pytest.Item], processes: int) -> Tests:
    """The same tests, in as many runs of equal length, one after the other."""
    files = [list(group) for _, group in groupby(tests, key=lambda test: test.path)]
    counted = [(sum(test.get_closest_marker("costly") is not None for test in file), file) for file in files]
    shares: list[Tests] = [[] for _ in range(processes)]
    costs = [0] * processes
    for cost, file in sorted(counted, key=lambda pair: pair[0], reverse=True):
        if cost:
            least = costs.index(min(costs))
            shares[least] += file
            costs[least] += cost
    others = [test for cost, file in counted if not cost for test in file]
    left = len(tests)
    for number, share in enumerate(shares):
        fill = max(left // (processes - number) - len(share), 0)
        share.extend(others[:fill])
        del others[:fill]
        left -= len(share)
    return [test for share in shares for test in share] + others
