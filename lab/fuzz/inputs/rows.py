"""Rows of the old application with anything in any column: taken as something that can be stored, or left out."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path

from lab.fuzz.inputs import documents
from old_application import rules
from old_application.old_rows import LeftOut, OldRow
from tests.harness.importing import old_columns

_SANE: dict[str, tuple[object, ...]] = {
    "status": ("pending", "submitted", "processing", "completed", "failed", "timeout", "cancelled", "PENDING", ""),
    "review_status": ("pending", "approved", "rejected", "auto_approved"),
    "publish_status": ("draft", "published"),
    "id": (1, 2, "3"),
    "account_id": (1, 2),
    "content_id": (1, None),
    "name": ("科技号",),
    "title": ("a title",),
    "content": ("# an article",),
    "task_id": ("task-1",),
}
_TIMES = (
    "2025-03-01 08:30:00",
    "2025-03-01T08:30:00.123456+08:00",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "2025-13-01",
    "infinity",  # a time of PostgreSQL, as the next ones
    "-infinity",
    "4713-01-01 00:00:00 BC",
    "294276-12-31 23:59:59",
    datetime(2025, 3, 1, tzinfo=UTC),
    datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))),
)
_ODD = (None, 0, 1, -1, 2**63 - 1, -(2**63), 10**17, 1.0, 1e300, float("nan"), float("inf"), True, b"\xff", b"a", "")


def row_of(table: str, read: Callable[[OldRow], object]) -> Callable[[random.Random, Path], None]:
    columns = [column.name for column in old_columns()[table]]

    def run(source: random.Random, _: Path) -> None:
        hostile = source.choice((0.0, 0.1, 0.5, 1.0))
        row = {name: cell(name, hostile, source) for name in columns if source.random() < 0.95}
        try:
            entity = read(OldRow(row))
        except LeftOut as error:
            assert error.reason.isprintable()
        else:
            _check(entity)

    return run


def cell(name: str, hostile: float, source: random.Random) -> object:
    """Makes one of a column of that name: with a chance of `hostile` anything, else what the application put there."""
    if source.random() >= hostile:
        return source.choice(_TIMES[:2] if name.endswith("_at") else _SANE.get(name, (None, "a text", 1)))
    if name.endswith("_at") and source.random() < 0.5:
        return source.choice(_TIMES)
    text = documents.text(source)
    return source.choice((text, text, documents.line(documents.value(source), source), *_ODD, source.choice(_TIMES)))


def _check(value: object) -> None:
    """Checks that all it holds can be stored: texts in UTF-8 without NUL, numbers of 64 bits, times with a zone."""
    if is_dataclass(value):
        for field in fields(value):
            _check(getattr(value, field.name))
    elif isinstance(value, dict):
        _check([*value.keys(), *value.values()])
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item)
    elif isinstance(value, str):
        assert "\0" not in value
        value.encode()
    elif isinstance(value, int):
        assert -(2**63) <= value < 2**63
    elif isinstance(value, datetime):
        assert value.tzinfo is not None


def _task(row: OldRow) -> object:
    task = rules.task(row)
    return task, rules.content_of_result(task)


account = row_of("accounts", rules.account)
task = row_of("content_generation_tasks", _task)
content = row_of("contents", partial(rules.content, in_pool=False))
entry = row_of("publish_pool", rules.entry)
