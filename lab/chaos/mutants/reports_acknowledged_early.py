"""A scheduler that acknowledges a result before it is committed; run in place of `contentgen-scheduler`."""

from __future__ import annotations

from lab.chaos.mutants.early import main_with_early_answers
from scheduler_svc.leases.report import ReportItem

if __name__ == "__main__":
    main_with_early_answers(ReportItem)
