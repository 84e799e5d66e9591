"""A scheduler that acknowledges a submit before it is committed; run in place of `contentgen-scheduler`."""

from __future__ import annotations

from lab.chaos.mutants.early import main_with_early_answers
from scheduler_svc.tasks.submit import SubmitItem

if __name__ == "__main__":
    main_with_early_answers(SubmitItem)
