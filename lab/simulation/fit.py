"""A linear fit without negative costs: which price of each cause explains best what was used, by relative error.

Part of `lab.simulation`, used by `calibration`.
"""

from __future__ import annotations

from collections.abc import Sequence

_ROUNDS = 20_000


def prices(counts: Sequence[Sequence[float]], used: Sequence[float]) -> list[float]:
    """Prices of the columns of `counts`, none negative, with the least squares of the relative errors of `used`.

    By coordinate descent: each price in turn takes what the others leave, until none changes any more.
    """
    rows = [[count / total for count in row] for row, total in zip(counts, used, strict=True)]
    columns = list(zip(*rows, strict=True))
    scales = [sum(value * value for value in column) for column in columns]
    result = [0.0] * len(columns)
    residuals = [1.0] * len(rows)
    for _ in range(_ROUNDS):
        for index, column in enumerate(columns):
            if not scales[index]:
                continue
            estimate = result[index] + sum(a * b for a, b in zip(column, residuals, strict=True)) / scales[index]
            change = max(0.0, estimate) - result[index]
            result[index] += change
            residuals = [a - change * b for a, b in zip(residuals, column, strict=True)]
    return result
