"""Submits the rows of a sheet, batch by batch, and names those that the scheduler refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial

from console_svc.submitting.sheet import Row
from console_svc.tasks.work import Work, patiently
from console_svc.web.language import refused, text
from console_svc.web.sessions import Session
from contentgen import RequestError, ResourceNotFoundException

BATCH = 200
BATCH_CHARACTERS = 500_000
"""Of texts, so that a message stays below 4 MiB in any script."""
_OF_A_ROW = frozenset({"INVALID_ARGUMENT", "ACCOUNT_INACTIVE", "ACCOUNT_FORBIDDEN", "REQUEST_ID_CONFLICT"})
"""Refusals for what a row says: without that row the others are taken."""
_INDEX = re.compile(r"requests\[(\d+)\]\.?")


async def submit(session: Session, rows: Sequence[Row], work: Work) -> None:
    """Raises RequestError for what is no row's fault; what has been submitted stays, and is not submitted twice."""
    for batch in _batches(rows):
        await _taken(session, batch, work)


async def _taken(session: Session, batch: Sequence[Row], work: Work) -> None:
    try:
        work.made += await patiently(partial(session.client.submit_tasks, [row.values for row in batch]))
        work.done += len(batch)
    except RequestError as error:
        if not (isinstance(error, ResourceNotFoundException) or error.reason in _OF_A_ROW):
            raise
        bad = _refused(error, batch)
        for row in batch:
            if row.line in bad:
                _fail(work, row, bad[row.line])
        left = [row for row in batch if row.line not in bad]
        for part in [left] if bad else [left[: len(left) // 2], left[len(left) // 2 :]]:
            if part:
                await _taken(session, part, work)


def _refused(error: RequestError, batch: Sequence[Row]) -> dict[int, str]:
    """Why rows were refused, by line; none: it does not say which."""
    if len(batch) == 1:
        return {batch[0].line: refused(error, _INDEX.sub("", error.message))}
    found = {}
    for field, description in error.field_violations:
        if (index := _INDEX.match(field)) and int(index[1]) < len(batch):
            found[batch[int(index[1])].line] = f"{_INDEX.sub('', field)}: {description}"
    return found


def _fail(work: Work, row: Row, why: str) -> None:
    work.fail(f"{row.line}: {row.topic[:80]}", "", text("{why}"), why=why)


def _batches(rows: Sequence[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        held = sum(len(value) for value in row.values.values() if isinstance(value, str))
        if batch and (len(batch) == BATCH or size + held > BATCH_CHARACTERS):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += held
    if batch:
        yield batch
