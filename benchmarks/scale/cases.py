"""The cases, in the order in which they are measured."""

from __future__ import annotations

from benchmarks.scale import backlog, many_accounts, many_workers, schedulers, steady
from benchmarks.scale.case import Case

CASES: dict[str, Case] = {
    case.name: case for case in (steady.CASE, backlog.CASE, many_workers.CASE, many_accounts.CASE, schedulers.CASE)
}
