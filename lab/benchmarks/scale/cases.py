"""The cases, in the order in which they are measured."""

from __future__ import annotations

from lab.benchmarks.scale import (
    backlog,
    backup,
    cleanup,
    fill,
    keeping_up,
    many_accounts,
    many_workers,
    reads,
    schedulers,
    steady,
)
from lab.benchmarks.scale.case import Case

_GROWTH = (steady.CASE, backlog.CASE, many_workers.CASE, many_accounts.CASE, schedulers.CASE)
_YEARS = (fill.CASE, cleanup.CASE, reads.CASE, backup.CASE, keeping_up.CASE)

CASES: dict[str, Case] = {case.name: case for case in (*_GROWTH, *_YEARS)}
