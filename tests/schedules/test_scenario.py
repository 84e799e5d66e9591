"""Schedules on two schedulers that are killed while ticks come: each tick has one task."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import grpc
import pytest
import sqlalchemy as sa

from contentgen.v1 import schedule_service_pb2 as pb
from contentgen.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from contentgen.v1.task_service_pb2 import SubmitTaskRequest
from tests.harness.client import CALL_TIMEOUT
from tests.harness.scheduling import sql
from tests.harness.stack import Scheduler, Stack
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.e2e

SCHEDULES = 80
MISSED = 20
"""New ticks of each schedule that come at once; so many tasks take some time, in which a scheduler is killed."""
KILLS = 3
LEASE = 30.0
ROUND_LIMIT = 60.0
_MISS = """
    UPDATE schedules SET next_tick = date_trunc('minute', now()) - make_interval(mins => :missed), due_time = now()
"""
_WAITING = "SELECT FROM schedules WHERE due_time <= now() LIMIT 1"
_COUNT = "SELECT count(*) FROM schedule_tasks"
_TICKS = """
    SELECT s.schedule_id, array_agg(s.tick ORDER BY s.tick), count(tasks.task_key)
    FROM tasks FULL JOIN schedule_tasks AS s USING (task_key) GROUP BY s.schedule_id
"""
"""By one statement, since schedules go on; tasks of no schedule are together, too."""


@pytest.mark.costly("eighty schedules, and schedulers that are killed")
def test_each_tick_has_one_task_though_schedulers_are_killed_amid_ticks(stack: Stack, engine: sa.Engine) -> None:
    schedulers = [stack.scheduler(name, lease_ttl=LEASE) for name in ("first", "second")]
    for scheduler in schedulers:
        scheduler.launch()
    for scheduler in schedulers:
        scheduler.wait_for("ready", within=20)
    account_id = schedulers[0].client.create_account()
    begin = _create(schedulers[1], account_id)
    for kill in range(KILLS):
        victim = schedulers[kill % 2]
        _miss(engine, MISSED * (kill + 1))  # those before come again, and have a task
        victim.kill()
        wait_until(lambda: not sql(engine, _WAITING), within=ROUND_LIMIT, what="no tick waits")
        victim.start()
    _check(engine, begin)


def _miss(engine: sa.Engine, missed: int) -> None:
    """Lets so many ticks of each schedule come at once; returns when some of them have a task."""
    before = sql(engine, _COUNT)
    sql(engine, _MISS, missed=missed)
    wait_until(lambda: sql(engine, _COUNT) != before, within=ROUND_LIMIT, what="some of the ticks have a task")


def _create(scheduler: Scheduler, account_id: int) -> datetime:
    """Schedules of every minute, all of whose ticks are caught up; returns a time before their first tick."""
    begin = datetime.now(UTC) - timedelta(minutes=1)
    with grpc.insecure_channel(scheduler.target) as channel:
        stub = ScheduleServiceStub(channel)
        for i in range(SCHEDULES):
            request = pb.CreateScheduleRequest(
                account_id=account_id,
                cron="* * * * *",
                template=SubmitTaskRequest(topic=f"news {i}"),
                catch_up=pb.CATCH_UP_ALL,
            )
            stub.CreateSchedule(request, timeout=CALL_TIMEOUT)
    return begin


def _check(engine: sa.Engine, begin: datetime) -> None:
    """Each minute of each schedule, from the first that was missed on, has one task; and no task is of none."""
    ticks = sql(engine, _TICKS)
    assert len(ticks) == SCHEDULES, "each task is of one of them"
    for _, own, tasks in ticks:
        assert tasks == len(own), "each tick has its task"
        assert own == [own[0] + timedelta(minutes=i) for i in range(len(own))], "none is left out or doubled"
        assert own[0] <= begin - timedelta(minutes=MISSED * KILLS - 5)
