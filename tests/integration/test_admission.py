"""The admission loop on a real database: its signals and its scans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from scheduler_svc.dispatch import admission as rules
from scheduler_svc.dispatch.loop import SCAN_INTERVAL, Admission
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.signals import CommitSignals
from tests.harness.scheduling import RESULT, Scheduling
from tests.harness.waiting import wait_until_async

WAIT_S = 5


@pytest.fixture
async def calls(scheduling: Scheduling) -> AsyncIterator[Calls]:
    calls = Calls(scheduling.database, 1)
    yield calls
    calls.close()


@pytest.fixture
def limited(scheduling: Scheduling) -> int:
    return scheduling.make_account(limit=1)


def waiting(scheduling: Scheduling) -> int:
    """How many tasks can be claimed."""
    (row,) = scheduling.sql("SELECT count(*) FROM ready WHERE tag IS NOT NULL")
    return int(row[0])


async def test_a_scan_finds_accounts_without_a_signal(calls: Calls, scheduling: Scheduling, limited: int) -> None:
    scheduling.fill(limited, 3)
    assert waiting(scheduling) == 0
    seconds = await Admission(calls).run_once()
    assert seconds is not None
    assert 0 < seconds <= SCAN_INTERVAL
    assert waiting(scheduling) == 1


async def test_admission_serves_requests_between_its_intervals(
    calls: Calls, scheduling: Scheduling, limited: int
) -> None:
    admission = Admission(calls)
    await admission.run_once()
    scheduling.fill(limited, 3)
    await admission.run_once()
    assert waiting(scheduling) == 0
    for signals in scheduling.told:
        admission.on_commit(signals)
    await admission.run_once()
    assert waiting(scheduling) == 1


async def test_the_end_of_a_lease_admits_a_task_of_an_account_with_a_limit(
    calls: Calls, scheduling: Scheduling, limited: int
) -> None:
    admission = Admission(calls)
    await admission.run_once()
    scheduling.fill(limited, 3)
    scheduling.admit()
    (ref,) = scheduling.claim(3)
    scheduling.end(ref, RESULT)
    assert scheduling.told[-1].released == {limited}
    admission.on_commit(CommitSignals(released={1}))
    await admission.run_once()
    assert waiting(scheduling) == 0
    admission.on_commit(scheduling.told[-1])
    await admission.run_once()
    assert waiting(scheduling) == 1


async def test_admission_repeats_until_a_large_backlog_is_admitted(
    calls: Calls, scheduling: Scheduling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MAX_BATCH", 2)
    scheduling.fill(1, 5)
    scheduling.pause(1)
    scheduling.resume(1)
    assert waiting(scheduling) == 2
    admission = Admission(calls)
    for so_far in (4, 5):
        admission.on_commit(scheduling.told[-1])
        await admission.run_once()
        assert waiting(scheduling) == so_far


async def test_a_failing_account_does_not_stop_the_others(
    calls: Calls, scheduling: Scheduling, limited: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = scheduling.make_account(limit=1)
    last = scheduling.make_account(limit=1)
    for account_id in (limited, broken, last):
        scheduling.fill(account_id, 1)
    scheduling.sql(
        """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'no' USING ERRCODE = 'check_violation'; END $$"""
    )
    scheduling.sql(
        f"""CREATE TRIGGER refuse BEFORE UPDATE ON ready FOR EACH ROW WHEN (old.account_id = {broken})
            EXECUTE FUNCTION refuse()"""
    )
    await Admission(calls).run_once()
    tagged = scheduling.sql("SELECT account_id FROM ready WHERE tag IS NOT NULL ORDER BY account_id")
    assert tagged == [(limited,), (last,)]


async def test_admission_runs_when_woken_and_stops(calls: Calls, scheduling: Scheduling, limited: int) -> None:
    admission = Admission(calls)
    admission.start()
    await wait_until_async(lambda: admission._limited == {limited}, within=WAIT_S, what="it has looked")
    scheduling.fill(limited, 1)
    admission.on_commit(scheduling.told[-1])
    await wait_until_async(lambda: waiting(scheduling) == 1, within=WAIT_S, what="it was woken")
    await admission.stop()
    await asyncio.get_running_loop().shutdown_default_executor()
