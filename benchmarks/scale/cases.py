"""The cases, in the order in which they are measured."""

from __future__ import annotations

from benchmarks.scale import backup, cleanup, fill, keeping_up, reads, steady
from benchmarks.scale.case import Case

CASES: dict[str, Case] = {
    case.name: case for case in (steady.CASE, fill.CASE, reads.CASE, backup.CASE, cleanup.CASE, keeping_up.CASE)
}
