"""The cases, in the order in which they are measured."""

from __future__ import annotations

from benchmarks.scale import cleanup, fill, steady
from benchmarks.scale.case import Case

CASES: dict[str, Case] = {case.name: case for case in (steady.CASE, fill.CASE, cleanup.CASE)}
