"""A lane of the scheduler that answers before it commits, and whose commit then takes its time.

Instead of `Lane._work_on`; the two mutants beside it say of which lane.
"""

from __future__ import annotations

import time
from typing import Any
from unittest.mock import patch

from scheduler_svc.domain.lease import AttemptCompleted
from scheduler_svc.leases.report import ReportItem
from scheduler_svc.main import main
from scheduler_svc.runtime.group_committer import GroupCommitter, _Entry
from scheduler_svc.tasks.submit import SubmitItem
from scheduler_svc.transactions import Tx

COMMIT_TAKES = 60.0
"""Seconds in which whoever was answered already can be disappointed: whoever tries that kills the process in time."""

_work_on = GroupCommitter._work_on


def main_with_early_answers(of: type[SubmitItem | ReportItem]) -> None:
    """The scheduler, whose submits or reported results are acknowledged before they are committed."""

    def answer_early(
        self: GroupCommitter[Any, Any], tx: Tx, group: list[_Entry[Any, Any]]
    ) -> list[tuple[_Entry[Any, Any], Any]]:
        answers = _work_on(self, tx, group)
        if any(isinstance(entry.item, of) and _matters(entry.item) for entry in group):
            self._resolve(answers)
            time.sleep(COMMIT_TAKES)
        return answers

    with patch.object(GroupCommitter, "_work_on", answer_early):
        main()


def _matters(item: SubmitItem | ReportItem) -> bool:
    return isinstance(item, SubmitItem) or any(isinstance(update.change, AttemptCompleted) for update in item.updates)
