"""A product that is broken in one way is caught in a short campaign, and the whole one passes the same campaign.

Its name keeps it out of `make test`: `make mutants` runs it, for it takes a minute.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.mutants.trial import REQUEUED, STARTED, Trial, trial_on
from tests.e2e.cable import cable_to
from tests.waiting import wait_until

PATIENT = 20.0
"""Seconds: the lease time where a trial should outlive the absence of its scheduler."""
Mutant = str | None


@pytest.fixture
def trial(db_url: str) -> Iterator[Trial]:
    with trial_on(db_url) as trial:
        yield trial


def late_report(trial: Trial, mutant: Mutant) -> None:
    """A worker is cut off until another one runs its task; then its result comes."""
    scheduler = trial.serve(mutant)
    with cable_to(scheduler.port) as cable:
        cut_off = trial.worker("cut-off", cable.target)
        task_id = trial.submit(seconds="2")
        first = trial.wait_run(task_id)
        scheduler.client.wait_processing(task_id)
        cable.cut()
        trial.wait_ended(first)
        trial.worker("heir")
        trial.wait_run(task_id, 2, within=REQUEUED)
        cable.mend()
        wait_until(lambda: not cut_off.spooled(), within=STARTED, what="the late result is answered")
        trial.finish()


def killed_after_submit(trial: Trial, mutant: Mutant) -> None:
    """A scheduler is killed as soon as it has acknowledged a submit."""
    scheduler = trial.serve(mutant)
    trial.submit(seconds="0.2")
    scheduler.kill()
    scheduler.start()
    trial.worker("worker")
    trial.finish()


def killed_after_report(trial: Trial, mutant: Mutant) -> None:
    """A scheduler is killed as soon as it has acknowledged a result."""
    scheduler = trial.serve(mutant, lease_ttl=PATIENT)
    worker = trial.worker("worker")
    trial.submit(seconds="0.5")
    worker.wait_for("lease.completed", within=STARTED)
    wait_until(lambda: not worker.spooled(), within=STARTED, what="the result is acknowledged")
    scheduler.kill()
    scheduler.start()
    trial.finish()
