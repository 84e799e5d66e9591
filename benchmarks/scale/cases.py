"""The cases, in the order in which they are measured."""

from __future__ import annotations

from benchmarks.scale import (
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
from benchmarks.scale.case import Case

_GROWTH = (steady, backlog, many_workers, many_accounts, schedulers)
_YEARS = (fill, reads, backup, cleanup, keeping_up)

CASES: dict[str, Case] = {module.CASE.name: module.CASE for module in (*_GROWTH, *_YEARS)}
