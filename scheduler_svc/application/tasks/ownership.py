"""Whether a task or a content is the caller's. What is not is not there, as far as its answer goes.

An account never changes, so the check may be a transaction before that of the call.
"""

from __future__ import annotations

from collections.abc import Sequence

from scheduler_svc.application.ports import Tx
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.errors import NotFound
from scheduler_svc.domain.ids import format_task_id


def own_tasks(tx: Tx, scope: Scope, keys: Sequence[int]) -> None:
    """Raises NotFound for the first of these tasks that is another account's, or does not exist."""
    found = tx.task_reads.accounts_of(keys)
    for key in keys:
        if key not in found or found[key] not in scope:
            raise NotFound("task", format_task_id(key))


def own_content(tx: Tx, scope: Scope, content_id: int) -> None:
    """Raises NotFound where the content is another account's, or does not exist."""
    account_id = tx.contents.account_of(content_id)
    if account_id is None or account_id not in scope:
        raise NotFound("content", content_id)
