"""Payloads of tasks. All statements that store or read a brief use the one list of columns here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from scheduler_svc.database.batch import Insert
from scheduler_svc.domain.task import TEXTS, Brief, PayloadRow

_TYPES = dict.fromkeys(TEXTS, "text") | {"creator_options": "jsonb"}

_PAYLOAD = {"task_key": "bigint", **_TYPES, "labels": "jsonb", "request_id": "text"}
PAYLOADS = Insert("task_payloads", **_PAYLOAD)
"""Inserts the payloads of tasks."""
TRACED_PAYLOADS = Insert("task_payloads", **_PAYLOAD, traceparent="text", tracestate="text")
"""Inserts the payloads of tasks of which some belong to a trace."""

BRIEF = ", ".join(f"p.{name}" for name in _TYPES)
"""For SELECT: the columns of a brief, from `database.statements.payload`."""
LISTED_BRIEF = BRIEF.replace("p.requirements", "'' AS requirements")
NULL_BRIEF = ", ".join(f"NULL::{sql_type} AS {name}" for name, sql_type in _TYPES.items())
BRIEF_WIDTH = len(_TYPES)


def brief(values: Sequence[Any]) -> Brief:
    """Returns the brief in a row's values of these columns."""
    return Brief.of(values[:-1], values[-1])


def stored(row: PayloadRow) -> tuple[Any, ...]:
    options = entries(row.brief.creator_options)
    return (row.task_key, *row.brief.texts, options, entries(row.labels), row.request_id or None)


def stored_traced(row: PayloadRow) -> tuple[Any, ...]:
    trace = row.trace
    return (*stored(row), *((trace.traceparent, trace.tracestate or None) if trace else (None, None)))


def entries(pairs: Mapping[str, str]) -> str | None:
    """Returns labels or options as JSON; None if there are none."""
    return json.dumps(dict(pairs)) if pairs else None
