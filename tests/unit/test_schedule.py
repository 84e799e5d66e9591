"""Which ticks of a schedule run: on time, missed, delayed by jitter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_svc.domain.cron import Cron
from scheduler_svc.domain.schedule import MAX_CATCH_UP, MAX_JITTER, MISSED_AFTER, CatchUp, Due, Plan, Timing, plan

HOURLY = Timing(Cron("0 * * * *", "UTC"))
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def at(hour: int) -> datetime:
    return NOON.replace(hour=hour)


@pytest.mark.parametrize("catch_up", CatchUp)
def test_a_tick_on_time_runs_and_the_next_one_follows(catch_up: CatchUp) -> None:
    for late in (timedelta(0), SECOND, MISSED_AFTER):
        assert plan(HOURLY, catch_up, NOON, NOON + late) == Plan([NOON], Due(at(13), at(13)))


@pytest.mark.parametrize("catch_up", CatchUp)
def test_nothing_runs_before_its_time(catch_up: CatchUp) -> None:
    assert plan(HOURLY, catch_up, NOON, NOON - SECOND) == Plan([], Due(NOON, NOON))


@pytest.mark.parametrize(
    ("catch_up", "runs"),
    [(CatchUp.SKIP, []), (CatchUp.ONE, [at(14)]), (CatchUp.ALL, [at(12), at(13), at(14)])],
)
def test_missed_ticks_are_skipped_or_run_once_or_all(catch_up: CatchUp, runs: list[datetime]) -> None:
    assert plan(HOURLY, catch_up, NOON, at(14) + MINUTE) == Plan(runs, Due(at(15), at(15)))


@pytest.mark.parametrize(
    ("catch_up", "runs"),
    [(CatchUp.SKIP, [at(14)]), (CatchUp.ONE, [at(14)]), (CatchUp.ALL, [at(12), at(13), at(14)])],
)
def test_a_tick_on_time_runs_whatever_was_missed(catch_up: CatchUp, runs: list[datetime]) -> None:
    assert plan(HOURLY, catch_up, NOON, at(14) + SECOND) == Plan(runs, Due(at(15), at(15)))


def test_a_missed_tick_is_late_by_more_than_its_grace() -> None:
    assert plan(HOURLY, CatchUp.SKIP, NOON, NOON + MISSED_AFTER + SECOND).ticks == []


def test_catching_up_is_bounded_to_the_latest_ticks() -> None:
    years_later = NOON.replace(year=2029)
    every_minute = Timing(Cron("* * * * *", "UTC"))
    runs = plan(every_minute, CatchUp.ALL, NOON, years_later).ticks
    assert len(runs) == MAX_CATCH_UP
    assert runs[-1] == years_later
    assert runs[0] == years_later - (MAX_CATCH_UP - 1) * MINUTE


def test_a_schedule_may_end() -> None:
    end = datetime(9999, 12, 31, 23, tzinfo=UTC)
    assert plan(HOURLY, CatchUp.ONE, end, end) == Plan([end], None)


def test_delays_differ_between_ticks_and_between_schedules() -> None:
    ticks = list(islice(HOURLY.cron.after(NOON), 24))
    delays = {salt: [Timing(HOURLY.cron, HOUR, salt).due_time(tick) - tick for tick in ticks] for salt in (1, 2)}
    assert len({*delays[1], *delays[2]}) == 48
    assert delays[1] == [Timing(HOURLY.cron, HOUR, 1).due_time(tick) - tick for tick in ticks], "the same each time"


TICK = Timing(HOURLY.cron, 30 * MINUTE, 7).due_time(NOON)


@pytest.mark.parametrize("catch_up", CatchUp)
def test_a_delayed_tick_is_on_time_after_its_delay(catch_up: CatchUp) -> None:
    timing = Timing(HOURLY.cron, 30 * MINUTE, 7)
    assert NOON < TICK < NOON + 30 * MINUTE
    assert plan(timing, catch_up, NOON, TICK - SECOND) == Plan([], Due(NOON, TICK))
    assert plan(timing, catch_up, NOON, TICK + SECOND).ticks == [NOON]


LINES = st.sampled_from(["* * * * *", "*/7 * * * *", "0 * * * *", "30 2 * * *", "0 0 1 * *"])
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
JITTERS = st.timedeltas(timedelta(0), MAX_JITTER)
TIMINGS = st.builds(Timing, st.builds(Cron, LINES, ZONES), JITTERS, st.integers(1, 9))
TIMES = st.integers(1_700_000_000, 2_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
WAITS = st.lists(st.timedeltas(SECOND, timedelta(hours=8)), min_size=1, max_size=6)


@given(TIMINGS, TIMES)
def test_each_tick_is_due_before_the_next_one_comes(timing: Timing, time: datetime) -> None:
    ticks = list(islice(timing.cron.after(time), 9))
    for tick, following in pairwise(ticks):
        assert tick <= timing.due_time(tick) < following


@given(TIMINGS, st.sampled_from(CatchUp), TIMES, WAITS)
def test_whenever_one_looks_no_tick_runs_twice_and_none_is_forgotten(
    timing: Timing, catch_up: CatchUp, begin: datetime, waits: list[timedelta]
) -> None:
    """Looks at some moments, as replicas would: each sees what the one before has left."""
    due = timing.first_due(begin)
    ran: list[datetime] = []
    now = begin
    for wait in waits:
        now += wait
        assert due is not None
        if due.time > now:
            continue
        runs, due = plan(timing, catch_up, due.tick, now)
        ran += runs
        assert all(timing.due_time(tick) <= now for tick in runs)
        assert due is not None
        assert due.time > now, "all that was due is decided"
    assert ran == sorted(set(ran))
    decided = [tick for tick in _until(timing, begin, now) if timing.due_time(tick) <= now]
    assert set(ran) <= set(decided)
    if catch_up is CatchUp.ALL and len(decided) <= MAX_CATCH_UP:
        assert ran == decided
    if catch_up is CatchUp.ONE and decided:
        assert ran
        assert ran[0] <= decided[-1]


def _until(timing: Timing, begin: datetime, end: datetime) -> list[datetime]:
    return list(timing.cron.between(begin + timedelta(microseconds=1), end))[::-1]
