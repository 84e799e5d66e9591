"""Ticks of cron lines, and which of them run."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_svc.domain.schedule import (
    MAX_CATCH_UP,
    MAX_JITTER,
    MISSED_AFTER,
    BadCron,
    CatchUp,
    Cron,
    Due,
    Plan,
    Timing,
    UnknownZone,
    check_line,
    plan,
)

pytestmark = pytest.mark.unit


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def texts(times: Iterable[datetime]) -> list[str]:
    return [f"{time:%Y-%m-%d %H:%M}" for time in times]


def after(line: str, zone: str, time: str, count: int) -> list[str]:
    return texts(islice(Cron(line, zone).after(utc(time)), count))


@pytest.mark.parametrize(
    ("zone", "line", "from_", "ticks"),
    [
        # clocks go from 02:00 to 03:00 at 01:00 UTC
        ("Europe/Berlin", "30 2 * * *", "2026-03-28 12:00", ["2026-03-29 01:00", "2026-03-30 00:30"]),
        (
            "Europe/Berlin",
            "30 1,2,3 29 3 *",
            "2026-03-28 12:00",
            ["2026-03-29 00:30", "2026-03-29 01:00", "2026-03-29 01:30"],
        ),
        (
            "Europe/Berlin",
            "*/30 * * * *",
            "2026-03-29 00:29",
            ["2026-03-29 00:30", "2026-03-29 01:00", "2026-03-29 01:30"],
        ),
        # from 02:00 to 03:00 at 10:00 UTC
        ("America/Los_Angeles", "15 2 * * *", "2026-03-07 12:00", ["2026-03-08 10:00", "2026-03-09 09:15"]),
        # by half an hour, from 02:00 to 02:30 at 15:30 UTC
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-02 16:00", ["2026-10-03 15:30", "2026-10-04 15:15"]),
        # at midnight: the day begins at 01:00
        ("Asia/Beirut", "0 0 * * *", "2026-03-27 22:00", ["2026-03-28 22:00", "2026-03-29 21:00"]),
        # a whole day that Samoa left out
        (
            "Pacific/Apia",
            "0 12 * * *",
            "2011-12-29 12:00",
            ["2011-12-29 22:00", "2011-12-30 10:00", "2011-12-30 22:00"],
        ),
    ],
)
def test_a_local_time_that_does_not_exist_runs_at_the_first_that_does_after_it(
    zone: str, line: str, from_: str, ticks: list[str]
) -> None:
    assert after(line, zone, from_, len(ticks)) == ticks


@pytest.mark.parametrize(
    ("zone", "line", "from_", "ticks"),
    [
        # clocks go from 03:00 to 02:00 at 01:00 UTC
        ("Europe/Berlin", "30 2 * * *", "2026-10-24 12:00", ["2026-10-25 00:30", "2026-10-26 01:30"]),
        (
            "Europe/Berlin",
            "*/30 * * * *",
            "2026-10-24 23:59",
            ["2026-10-25 00:00", "2026-10-25 00:30", "2026-10-25 02:00", "2026-10-25 02:30"],
        ),
        # from 02:00 to 01:00 at 09:00 UTC
        ("America/Los_Angeles", "0 1 * * *", "2026-10-31 12:00", ["2026-11-01 08:00", "2026-11-02 09:00"]),
        # by half an hour, from 02:00 to 01:30 at 15:00 UTC
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-03 15:00", ["2026-04-04 14:45", "2026-04-05 15:15"]),
    ],
)
def test_a_local_time_that_comes_twice_runs_once(zone: str, line: str, from_: str, ticks: list[str]) -> None:
    assert after(line, zone, from_, len(ticks)) == ticks


def test_the_hour_that_comes_twice_is_over_when_it_comes_again() -> None:
    second_half_past_two = utc("2026-10-25 01:30")
    cron = Cron("30 2 * * *", "Europe/Berlin")
    assert texts(islice(cron.after(second_half_past_two), 1)) == ["2026-10-26 01:30"]
    assert texts(islice(cron.before(second_half_past_two), 1)) == ["2026-10-25 00:30"]
    just_after_the_change = utc("2026-10-25 01:10")  # the clock shows 02:10 again
    assert texts(islice(cron.before(just_after_the_change), 1)) == ["2026-10-25 00:30"]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "Asia/Kathmandu"])
def test_a_zone_without_summer_time_runs_at_each_time(zone: str) -> None:
    times = list(islice(Cron("*/15 * * * *", zone).after(utc("2026-03-01 00:00")), 96 * 60))
    assert {later - earlier for earlier, later in pairwise(times)} == {15 * MINUTE}


def test_leap_days() -> None:
    assert after("0 0 29 2 *", "UTC", "2026-01-01 00:00", 3) == [
        "2028-02-29 00:00",
        "2032-02-29 00:00",
        "2036-02-29 00:00",
    ]
    assert after("0 0 29 2 *", "UTC", "2096-03-01 00:00", 1) == ["2104-02-29 00:00"], "2100 is no leap year"
    assert after("0 12 L * *", "Asia/Shanghai", "2028-02-01 00:00", 2) == ["2028-02-29 04:00", "2028-03-31 04:00"]


def test_the_ticks_end_with_the_calendar() -> None:
    assert after("0 0 1 1 *", "UTC", "9998-06-01 00:00", 5) == ["9999-01-01 00:00"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("0 * * * * *", "five fields"),
        ("@daily", "five fields"),
        ("* * * * * ; reboot", "five fields"),
        ("60 * * * *", "bad minute"),
        ("0 24 * * *", "bad hour"),
        ("0 0 0 * *", "bad day-of-month"),
        ("0 0 1 13 *", "bad month"),
        ("0 0 * * 8", "bad day-of-week"),
        ("*/0 * * * *", "bad minute"),
        ("5-1 * * * *", "bad minute"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("0 0 * 2 MON#5,TUE#5\0", "five fields"),
        ("0 9 * * MON-", "bad day-of-week"),
        (f"{'0,' * 100}0 * * * *", "at most 200 characters"),
        ("٣ * * * *", "five fields"),
    ],
)
def test_a_bad_line_is_refused(line: str, what: str) -> None:
    with pytest.raises(BadCron, match=what):
        check_line(line)


@pytest.mark.parametrize(
    "zone", ["", "Mars/Phobos", "../../etc/passwd", "Europe", "localtime", "europe/berlin\0", "+08:00"]
)
def test_an_unknown_zone_is_refused(zone: str) -> None:
    with pytest.raises(UnknownZone):
        Cron("0 9 * * *", zone)


ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Asia/Shanghai", "Australia/Lord_Howe",
     "Africa/Casablanca", "Asia/Beirut", "Pacific/Apia", "America/St_Johns", "Antarctica/Troll"]
)  # fmt: skip
TIMES = st.integers(1_104_537_600, 2_145_830_400).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
LINES = st.builds(
    lambda minute, hour, day: f"{minute} {hour} {day}",
    st.sampled_from(["*", "*/7", "0", "30", "59", "0,15,45"]),
    st.sampled_from(["*", "*/3", "0", "1,2,3", "2", "23"]),
    st.sampled_from(["* * *", "* * SUN", "29 2 *", "L * *", "* 3,10 SUN#5", "25-31 3,10 *", "1 1 MON"]),
)
CRONS = st.builds(Cron, LINES, ZONES)


@given(CRONS, TIMES)
def test_ticks_rise_and_are_whole_minutes_of_the_clock(cron: Cron, time: datetime) -> None:
    ticks = list(islice(cron.after(time), 50))
    assert ticks == sorted(set(ticks))
    assert all(tick > time for tick in ticks)
    assert all((tick.second, tick.microsecond) == (0, 0) for tick in ticks)


@given(CRONS, TIMES, st.integers(1, 20))
def test_backwards_the_ticks_are_the_same(cron: Cron, time: datetime, count: int) -> None:
    ticks = list(islice(cron.after(time), count))
    assert list(cron.between(time + timedelta(microseconds=1), ticks[-1])) == ticks[::-1]


@given(CRONS, TIMES, st.timedeltas(timedelta(0), timedelta(days=3)))
def test_where_one_looks_from_makes_no_difference(cron: Cron, time: datetime, earlier: timedelta) -> None:
    first = next(cron.after(time))
    assert next(tick for tick in cron.after(time - earlier) if tick > time) == first
    assert next(cron.before(first)) == first
    assert next(cron.before(first - MINUTE)) <= time


@given(ZONES, st.integers(0, 23), st.integers(0, 59), TIMES)
def test_a_daily_time_comes_once_on_each_day(zone: str, hour: int, minute: int, time: datetime) -> None:
    """On each day that the zone has: each tick shows its time on the clock, or is the first one that does after it."""
    tz = ZoneInfo(zone)
    ticks = list(islice(Cron(f"{minute} {hour} * * *", zone).after(time), 20))
    local_times = [tick.astimezone(tz) for tick in ticks]
    days = [local.date() for local in local_times]
    assert days == sorted(days)
    for tick, local in zip(ticks, local_times, strict=True):
        if (local.hour, local.minute) != (hour, minute):
            before = (tick - timedelta(seconds=1)).astimezone(tz)
            assert before.utcoffset() != local.utcoffset(), "clocks go forward just then"
        else:
            assert not local.fold, "the first time of two"


# Which ticks of a schedule run: on time, missed, delayed by jitter.


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
    ("catch_up", "missed", "with_one_on_time"),
    [
        (CatchUp.SKIP, [], [at(14)]),
        (CatchUp.ONE, [at(14)], [at(14)]),
        (CatchUp.ALL, [at(12), at(13), at(14)], [at(12), at(13), at(14)]),
    ],
)
def test_missed_ticks_are_skipped_or_run_once_or_all(
    catch_up: CatchUp, missed: list[datetime], with_one_on_time: list[datetime]
) -> None:
    for late, runs in ((MINUTE, missed), (SECOND, with_one_on_time)):
        skipped = tuple(tick for tick in (NOON, at(13), at(14)) if tick not in runs)
        assert plan(HOURLY, catch_up, NOON, at(14) + late) == Plan(runs, Due(at(15), at(15)), skipped)


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


SCHEDULE_LINES = st.sampled_from(["* * * * *", "*/7 * * * *", "0 * * * *", "30 2 * * *", "0 0 1 * *"])
SCHEDULE_ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
JITTERS = st.timedeltas(timedelta(0), MAX_JITTER)
TIMINGS = st.builds(Timing, st.builds(Cron, SCHEDULE_LINES, SCHEDULE_ZONES), JITTERS, st.integers(1, 9))
SCHEDULE_TIMES = st.integers(1_700_000_000, 2_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
WAITS = st.lists(st.timedeltas(SECOND, timedelta(hours=8)), min_size=1, max_size=6)


@given(TIMINGS, SCHEDULE_TIMES)
def test_each_tick_is_due_before_the_next_one_comes(timing: Timing, time: datetime) -> None:
    ticks = list(islice(timing.cron.after(time), 9))
    for tick, following in pairwise(ticks):
        assert tick <= timing.due_time(tick) < following


@given(TIMINGS, st.sampled_from(CatchUp), SCHEDULE_TIMES, WAITS)
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
        runs, due, skipped = plan(timing, catch_up, due.tick, now)
        assert not set(runs) & set(skipped)
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
