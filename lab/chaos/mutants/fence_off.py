"""A scheduler without its fence: a report moves the task that it names, under whatever lease that has by now.

Instead of `Reports._apply`; run in place of `contentgen-scheduler`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from unittest.mock import patch

from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import LeaseUpdate
from scheduler_svc.leases.report import Item, ReportItem, ReportWork, _Applied
from scheduler_svc.leases.rows import LiveLease
from scheduler_svc.main import main
from scheduler_svc.transactions import Tx

_apply = ReportWork._apply


def _apply_without_fence(self: ReportWork, tx: Tx, group: Sequence[Item]) -> _Applied:
    refs = {update.ref for item in group if isinstance(item, ReportItem) for update in item.updates if update.ref}
    live = tx.leases.lock(sorted({ref.task_key for ref in refs})) if refs else {}
    applied = _apply(self, tx, [_renamed(item, live) if isinstance(item, ReportItem) else item for item in group])
    return applied._replace(outcomes={ref: applied.outcomes[_present(ref, live)] for ref in refs})


def _renamed(item: ReportItem, live: Mapping[int, LiveLease]) -> ReportItem:
    return replace(item, updates=tuple(_with_present_lease(update, live) for update in item.updates))


def _with_present_lease(update: LeaseUpdate, live: Mapping[int, LiveLease]) -> LeaseUpdate:
    return update if update.ref is None else update._replace(ref=_present(update.ref, live))


def _present(ref: LeaseRef, live: Mapping[int, LiveLease]) -> LeaseRef:
    return live[ref.task_key].ref if ref.task_key in live else ref


if __name__ == "__main__":
    with patch.object(ReportWork, "_apply", _apply_without_fence):
        main()
