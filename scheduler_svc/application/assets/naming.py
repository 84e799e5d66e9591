"""What the contents of completed tasks name: only what is stored, in the transaction that stores the contents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from scheduler_svc.application.records import CompletedTask, ContentAssetRow
from scheduler_svc.domain.asset import NOT_UPLOADED
from scheduler_svc.domain.content import TaskResult

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx


def name_assets(tx: Tx, completed: Iterable[tuple[CompletedTask, TaskResult]]) -> None:
    """Records what each content names. An asset that is not stored counts as left out; the content stays."""
    naming = [(task, result) for task, result in completed if result.assets or result.left_out]
    if not naming:
        return
    wanted = sorted({asset.sha256 for _, result in naming for asset in result.assets})
    stored = tx.assets.lock_complete(wanted) if wanted else frozenset()
    tx.assets.name([row for task, result in naming for row in _rows(task, result, stored)])


def _rows(task: CompletedTask, result: TaskResult, stored: frozenset[str]) -> Iterator[ContentAssetRow]:
    entries: list[tuple[str, str | None, str | None]] = [
        (name, sha256, None) if sha256 in stored else (name, None, NOT_UPLOADED) for name, sha256 in result.assets
    ]
    entries += [(name, None, reason) for name, reason in result.left_out]
    for position, entry in enumerate(entries):
        yield ContentAssetRow(task.content_id, position, task.account_id, *entry)
