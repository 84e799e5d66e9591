"""A product that is broken in one way is caught in a short campaign, and the whole one passes the same campaign.

Its name keeps it out of `make test`: `make mutants` runs it, for it takes two minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil
import pytest

from lab.chaos.checker import check
from lab.chaos.mutants.scheduler import ALLOWED_BY
from lab.chaos.mutants.trial import REQUEUED, STARTED, Trial, trial_on
from tests.harness.stack import Scheduler, Worker
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.lab

PATIENT = 10.0
"""Seconds: the lease time where a trial should outlive the absence of its scheduler."""
LOCKED = 7.0
"""Seconds that another session holds a lock."""
Mutant = str | None


@pytest.fixture
def trial(db_url: str) -> Iterator[Trial]:
    with trial_on(db_url) as trial:
        yield trial


def locked_account(trial: Trial, mutant: Mutant) -> None:
    """Another session holds the rows of one account; another account's tasks are submitted meanwhile."""
    trial.serve(mutant, lease_ttl=PATIENT)
    held, other = trial.account(), trial.account()
    for account_id in (held, other):
        trial.submit(account_id, seconds="0.2")
    with trial.other_session("shares", f"account_id = {held}", seconds=LOCKED), trial.submitting(held):
        trial.probe(other, until=LOCKED)
    trial.worker("worker")


def late_report(trial: Trial, mutant: Mutant) -> None:
    """A worker is cut off until another one runs its task; then its result comes."""
    scheduler = trial.serve(mutant)
    cable = trial.cable()
    cut_off = trial.worker("cut-off", cable.target)
    task_id = trial.submit(seconds="1")
    first = trial.wait_run(task_id)
    scheduler.client.wait_processing(task_id)
    cable.cut()
    trial.wait_ended(first)
    heir = trial.worker("heir")
    trial.wait_run(task_id, 2, within=REQUEUED)
    heir.freeze()  # it would be done before the other one is back
    cable.mend()
    wait_until(lambda: not cut_off.spooled(), within=STARTED, what="the late result is answered")
    heir.thaw()


def killed_after_submit(trial: Trial, mutant: Mutant) -> None:
    """A scheduler is killed as soon as it has acknowledged a submit."""
    scheduler = trial.serve(mutant)
    trial.submit(seconds="0.2")
    scheduler.kill()
    trial.serve_again()
    trial.worker("worker")


def killed_after_report(trial: Trial, mutant: Mutant) -> None:
    """A scheduler is killed as soon as it has acknowledged a result."""
    scheduler = trial.serve(mutant, lease_ttl=PATIENT)
    worker = trial.worker("worker")
    trial.submit(seconds="0.5")
    worker.wait_for("lease.completed", within=STARTED)
    wait_until(lambda: not worker.spooled(), within=STARTED, what="the result is acknowledged")
    scheduler.kill()
    trial.serve_again()


def completed(trial: Trial, mutant: Mutant) -> None:
    """A task completes whose result names a file, and the webhook's receiver refuses the first delivery.

    Where contents are doubled, the database does not object.
    """
    if mutant == "doubled_content":
        trial.sql(ALLOWED_BY[mutant])
    trial.serve(mutant)
    trial.subscribe()
    trial.worker("worker")
    trial.submit(seconds="0.2", file="1000")


def ticked(trial: Trial, mutant: Mutant) -> None:
    """A schedule's tick is due. Where it runs twice, the database does not object."""
    trial.serve(mutant)
    if mutant == "doubled_tick":
        trial.sql(ALLOWED_BY[mutant])
    trial.worker("worker")
    trial.tick()


def narrow_account(trial: Trial, mutant: Mutant) -> None:
    """Two tasks of an account whose limit is one, and a worker with slots for both."""
    trial.serve(mutant)
    trial.worker("worker", slots=2)
    account_id = trial.account(cap=1)
    for _ in range(2):
        trial.submit(account_id, seconds="1")


def restarted_with_a_result(trial: Trial, mutant: Mutant) -> None:
    """A worker is killed and started again while the result in its spool waits for the scheduler."""
    scheduler, worker = _spooled(trial, mutant)
    worker.kill()
    worker.launch()
    worker.wait_for("creator.checked", within=STARTED)
    scheduler.start()


def reconnected_with_a_result(trial: Trial, mutant: Mutant) -> None:
    """A worker whose spool has a result finds its scheduler again."""
    scheduler, _ = _spooled(trial, mutant)
    scheduler.start()


def _spooled(trial: Trial, mutant: Mutant) -> tuple[Scheduler, Worker]:
    """A scheduler that was killed while a CLI ran, and a worker whose spool has what that came to."""
    scheduler = trial.serve(lease_ttl=PATIENT)
    worker = trial.worker("worker", mutant=mutant)
    task_id = trial.submit(seconds="1")
    scheduler.client.wait_processing(task_id)
    scheduler.kill()
    # with its mark, a worker that is killed now would say that the run is lost, which is no lie
    spooled = "the result is in the spool, in place of its mark"
    wait_until(lambda: worker.spooled() and not worker.started(), within=STARTED, what=spooled)
    return scheduler, worker


def outlived_deadline(trial: Trial, mutant: Mutant) -> None:
    """A worker is cut off for so long that its run has to be ended, and another one takes over."""
    trial.serve()
    cable = trial.cable()
    trial.worker("cut-off", cable.target, mutant=mutant)
    task_id = trial.submit(mode="hang", times="1", seconds="1")
    trial.wait_run(task_id)
    cable.cut()
    trial.worker("heir")
    trial.wait_ended(trial.wait_run(task_id, 2, within=REQUEUED))
    cable.mend()


def frozen_guard(trial: Trial, mutant: Mutant) -> None:
    """A worker is cut off while its guard is frozen, and another one takes over."""
    trial.serve()
    cable = trial.cable()
    cut_off = trial.worker("cut-off", cable.target, mutant=mutant)
    task_id = trial.submit(mode="hang", times="1", seconds="1")
    trial.wait_run(task_id)
    [guard] = psutil.Process(cut_off.pid).children()
    guard.suspend()
    cable.cut()
    trial.worker("heir")
    trial.wait_ended(trial.wait_run(task_id, 2, within=REQUEUED))
    cable.mend()
    if cut_off.alive:
        guard.resume()
    else:
        cut_off.start()  # it puts its folder in order


def outlived_worker(trial: Trial, mutant: Mutant) -> None:
    """A worker is killed in the middle of a run, and another one takes over."""
    trial.serve()
    killed = trial.worker("killed", mutant=mutant)
    task_id = trial.submit(mode="hang", times="1", seconds="1")
    trial.wait_run(task_id)
    killed.kill()
    trial.worker("heir")
    trial.wait_run(task_id, 2, within=REQUEUED)
    killed.launch()  # it puts its folder in order, or has to wait for a guard
    what = "the killed worker has come back, or says what it waits for"
    wait_until(lambda: killed.events("session.opened") or killed.events("folder.notice"), within=STARTED, what=what)


@dataclass(frozen=True, slots=True)
class Case:
    """A mutant, the campaign that it is tried in, and what the checker has to say."""

    mutant: str
    campaign: Callable[[Trial, Mutant], None]
    property: str
    problem: str

    def __str__(self) -> str:
        return f"{self.mutant}, {self.campaign.__name__}"


LET_GO = "made a result in attempt 1, and the worker let go of it"
CASES = (
    Case("fence_off", late_report, "contents", "the body of its content is from a run of cut-off"),
    Case("submits_acknowledged_early", killed_after_submit, "submits", "but the database does not have it"),
    Case("reports_acknowledged_early", killed_after_report, "results", LET_GO),
    Case("doubled_content", completed, "contents", "it is completed and has 2 contents; it should have 1"),
    Case("unrecorded_start", completed, "histories", "its history goes on from processing, but it was submitted"),
    Case("uncounted_completion", completed, "counts", "0 tasks of all accounts are said to be completed; it is 1"),
    Case("asset_without_its_bytes", completed, "assets", "and the API gives"),
    Case("doubled_tick", ticked, "ticks", "has 2 tasks of minute 1; it should have 1"),
    Case("refusal_ignored", completed, "webhooks", "its webhook got 0 events"),
    Case("waits_for_locks", locked_account, "locks", "no submit was acknowledged for 4.0 s"),
    Case("cap_ignored", narrow_account, "caps", "its grant was lease 2"),
    Case("spool_forgotten_at_restart", restarted_with_a_result, "results", LET_GO),
    Case("spool_forgotten_at_reconnect", reconnected_with_a_result, "results", LET_GO),
    Case("sleeping_guard", outlived_deadline, "runs", "of heir had started"),
    Case("sleeping_guard", outlived_worker, "runs", "of heir had started"),
    Case("blind_worker", frozen_guard, "runs", "of heir had started"),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_mutant_is_caught(trial: Trial, case: Case) -> None:
    case.campaign(trial, case.mutant)
    violations = check(trial.finish())
    print("\n".join(map(str, violations)))
    assert any(case.problem in violation.problem for violation in violations if violation.property == case.property)


@pytest.mark.parametrize(
    "campaign", dict.fromkeys(case.campaign for case in CASES), ids=lambda function: function.__name__
)
def test_the_whole_product_passes(trial: Trial, campaign: Callable[[Trial, Mutant], None]) -> None:
    campaign(trial, None)
    assert check(trial.finish()) == []
