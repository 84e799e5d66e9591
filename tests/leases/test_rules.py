"""The decisions of the lease protocol, the clocks that they trust, the figures of polls, and what messages hold."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from contentgen.v1 import task_pb2
from contentgen.v1 import worker_service_pb2 as pb
from scheduler_svc.dispatch.streams import SessionCapacities
from scheduler_svc.domain.clock import ClockWatch, is_ahead
from scheduler_svc.domain.content import TaskResult
from scheduler_svc.domain.errors import InvalidArgument
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import (
    AttemptAccepted,
    AttemptCompleted,
    AttemptDeferred,
    AttemptFailed,
    AttemptReleased,
    AttemptStarted,
    Capacity,
    Change,
    FoldedUpdates,
    HelloVerdict,
    LastEnd,
    LeaseEnd,
    LeaseRow,
    LeaseUpdate,
    ReaperRow,
    Release,
    SessionRow,
    Verdict,
    fold_updates,
    judge,
    judge_hello,
    share_out,
    tick,
)
from scheduler_svc.domain.lifecycle import Status, deferral_wait
from scheduler_svc.domain.task import AttemptProgress, RunOutput, TaskError
from scheduler_svc.domain.worker import AttemptCount, PollResult, summarize
from scheduler_svc.leases import messages
from scheduler_svc.leases.service import ReportParts

pytestmark = pytest.mark.unit


REF = LeaseRef(7, 2, 99)
OTHER = LeaseRef(7, 3, 55)
COMPLETED = AttemptCompleted(TaskResult("text"))
FAILED = AttemptFailed(TaskError("CREATOR_ERROR"))
RELEASED = AttemptReleased(Release.DRAINING, started=False)
DEFERRED = AttemptDeferred(30.0)
ENDINGS = {"nothing": None, "completed": COMPLETED, "failed": FAILED, "released": RELEASED, "deferred": DEFERRED}
ANSWERS = {LeaseEnd.COMPLETED: ["completed"], LeaseEnd.FAILED: ["failed"], LeaseEnd.RELEASED: ["released", "deferred"]}
OWN_STATUSES = (Status.PENDING, Status.COMPLETED, Status.FAILED, Status.TIMEOUT, Status.CANCELLED)


def folded(ending: str) -> FoldedUpdates:
    return FoldedUpdates(REF, accepted=True, processing=True, ending=ENDINGS[ending])


LEASES = {
    "none": None,
    "its own": LeaseRow(REF, revoked=False),
    "its own, revoked": LeaseRow(REF, revoked=True),
    "a newer one": LeaseRow(OTHER, revoked=False),
    "a newer one, revoked": LeaseRow(OTHER, revoked=True),
    "another fence": LeaseRow(REF._replace(fence=98), revoked=False),
}


def rule(ending: str, present: str, last: LastEnd | None) -> Verdict:
    """Rules 14 to 17 in prose order: its own lease decides; else only how its lease ended."""
    if present == "its own":
        return Verdict.APPLY
    if present == "its own, revoked":
        return Verdict.LOST if ending == "nothing" else Verdict.END_REVOKED
    if last is None or (last.attempt, last.fence) != REF[1:]:
        return Verdict.LOST
    if last.end in ANSWERS and ending in ("nothing", *ANSWERS[last.end]):
        return Verdict.ALREADY
    if last.end is LeaseEnd.LOST and last.status is Status.PENDING and present == "none" and ending == "completed":
        return Verdict.APPLY_LATE
    return Verdict.LOST


LAST_ENDS = [
    None,
    *(
        LastEnd(status, *fences, end)
        for status in OWN_STATUSES
        for fences in ((2, 99), (2, 98), (3, 99), (1, 99))
        for end in LeaseEnd
    ),
]


@pytest.mark.parametrize("present", LEASES)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_report_is_judged_by_its_lease_and_attempt(ending: str, present: str) -> None:
    for last in LAST_ENDS:
        assert judge(folded(ending), LEASES[present], last) is rule(ending, present, last), last


def session(
    folder_id: str = "folder", session_number: int = 5, silent_for: float = 0.0, identity: str = ""
) -> SessionRow:
    return SessionRow(folder_id, session_number, "host", silent_for, identity)


@pytest.mark.parametrize(
    ("number", "present", "opening"),
    [
        (1, None, HelloVerdict.OPEN),
        (6, session(), HelloVerdict.OPEN),
        (5, session(), HelloVerdict.STALE),
        (4, session(), HelloVerdict.STALE),
        (5, session(silent_for=1e6), HelloVerdict.STALE),  # delayed, however long
        (9, session("another", 5, 119.9), HelloVerdict.IN_USE),
        (9, session("another", 5, -1.0), HelloVerdict.IN_USE),  # heard of by a transaction that began later
        (1, session("another", 5, 120.0), HelloVerdict.OPEN),
        (6, session(identity="ours"), HelloVerdict.OPEN),
        (6, session(identity="theirs"), HelloVerdict.IN_USE),
        (6, session(identity="theirs", silent_for=119.9), HelloVerdict.IN_USE),
        (6, session(identity="theirs", silent_for=120.0), HelloVerdict.OPEN),
        (6, session("another", identity="ours"), HelloVerdict.IN_USE),
    ],
)
def test_a_session_may_be_opened_by_its_folder_and_identity_or_once_it_is_silent(
    number: int, present: SessionRow | None, opening: HelloVerdict
) -> None:
    assert judge_hello("folder", number, present, lease_ttl=120.0, identity="ours") is opening


def test_a_session_of_an_identity_may_be_opened_once_no_tokens_are_asked() -> None:
    assert judge_hello("folder", 6, session(identity="ours"), lease_ttl=120.0) is HelloVerdict.OPEN


class TestCapacity:
    def test_slots_are_free_from_their_heartbeat_until_they_lapse(self) -> None:
        capacity = Capacity()
        assert capacity.free(now=0.0) == 0
        capacity.heartbeat(1, free_slots=3, last_assignment=0, expires_at=15.0)
        assert (capacity.free(14.9), capacity.free(15.0)) == (3, 0)

    def test_an_assignment_that_was_not_read_counts_ended_or_not(self) -> None:
        capacity = Capacity()
        capacity.heartbeat(1, free_slots=3, last_assignment=0, expires_at=15.0)
        assert capacity.assigned(2) == 1
        capacity.heartbeat(2, free_slots=3, last_assignment=0, expires_at=25.0)
        assert capacity.free(20.0) == 1
        capacity.heartbeat(3, free_slots=1, last_assignment=1, expires_at=35.0)
        assert capacity.free(30.0) == 1

    def test_a_state_that_is_not_the_newest_changes_nothing(self) -> None:
        capacity = Capacity()
        capacity.heartbeat(2, free_slots=1, last_assignment=0, expires_at=15.0)
        capacity.heartbeat(1, free_slots=9, last_assignment=5, expires_at=99.0)
        assert (capacity.free(14.0), capacity.free(16.0)) == (1, 0)

    def test_a_worker_that_states_less_than_it_was_sent_gets_nothing(self) -> None:
        capacity = Capacity()
        capacity.heartbeat(1, free_slots=5, last_assignment=0, expires_at=15.0)
        capacity.assigned(5)
        capacity.heartbeat(2, free_slots=2, last_assignment=0, expires_at=25.0)
        assert capacity.free(20.0) == 0


@given(st.data())
def test_never_more_is_granted_than_was_stated_less_what_was_not_read(data: st.DataObject) -> None:
    """A worker of some slots, whose states are delayed and whose runs end as they like, is never given too many."""
    slots = data.draw(st.integers(0, 8))
    capacity = Capacity()
    held: list[int] = []  # sizes of the assignments that the worker has read, as far as they still run
    on_the_way: list[tuple[int, int]] = []  # assignments: number, leases
    states: list[tuple[int, int, int]] = []  # not yet committed: number, free slots, last assignment
    number = last_read = 0
    for step in data.draw(st.lists(st.sampled_from(["state", "commit", "grant", "read", "end"]), max_size=60)):
        if step == "state":
            number += 1
            states.append((number, slots - sum(held), last_read))
        elif step == "commit" and states:
            capacity.heartbeat(*states.pop(0), expires_at=1.0)
        elif step == "grant" and (free := capacity.free(now=0.0)):
            leases = data.draw(st.integers(1, free))
            on_the_way.append((capacity.assigned(leases), leases))
        elif step == "read" and on_the_way:
            last_read, leases = on_the_way.pop(0)
            held.append(leases)
        elif step == "end" and held:
            held[0] -= 1
            held = [leases for leases in held if leases]
        assert sum(held) + sum(leases for _, leases in on_the_way) <= slots


HEARTBEAT, TTL = 10.0, 120.0


class TestTick:
    @pytest.mark.parametrize(
        ("before", "now", "after"),
        [
            (ReaperRow(100.0, 50.0), 105.0, ReaperRow(105.0, 50.0)),
            (ReaperRow(100.0, 50.0), 110.0, ReaperRow(110.0, 50.0)),  # just an interval
            (ReaperRow(100.0, 50.0), 110.1, ReaperRow(110.1, 230.1)),  # a gap: nothing expires for a lease time
            (ReaperRow(100.0, 220.0), 150.0, ReaperRow(150.0, 270.0)),  # another one: it starts anew
            (ReaperRow(100.0, 300.0), 99.0, ReaperRow(100.0, 300.0)),  # of a transaction that began before the stamp
        ],
    )
    def test_a_tick_stamps_and_lets_things_expire_unless_there_was_a_gap(
        self, before: ReaperRow, now: float, after: ReaperRow
    ) -> None:
        assert tick(before, now, HEARTBEAT, TTL) == after

    @given(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 1e9))
    def test_neither_stamp_nor_guard_ever_moves_back(self, stamp: float, guard: float, now: float) -> None:
        after = tick(ReaperRow(stamp, guard), now, HEARTBEAT, TTL)
        assert after.stamp >= stamp
        assert after.expire_not_before >= guard


class TestShareOut:
    def test_the_emptiest_worker_first_then_one_each_in_turn_up_to_the_limit(self) -> None:
        assert share_out({1: 1, 2: 3, 3: 2}, limit=10) == [2, 3, 1, 2, 3, 2]
        assert share_out({1: 5, 2: 5}, limit=3) == [2, 1, 2]

    def test_the_first_sessions_get_one_slot_before_all_others(self) -> None:
        assert share_out({1: 1, 2: 3, 3: 2, 4: 0}, limit=10, first=[1, 3, 4]) == [1, 3, 2, 3, 2, 2]
        assert share_out({1: 1, 2: 3}, limit=1, first=[1]) == [1]

    @given(st.dictionaries(st.integers(1, 50), st.integers(-2, 30), max_size=12), st.integers(0, 100))
    def test_shares_use_all_free_slots_and_no_more(self, free: dict[int, int], limit: int) -> None:
        slots = share_out(free, limit)
        got = Counter(slots)
        assert len(slots) == min(limit, sum(n for n in free.values() if n > 0))
        assert all(got[key] <= free[key] for key in got)

    @given(st.dictionaries(st.integers(1, 50), st.integers(1, 30), min_size=2, max_size=12), st.integers(0, 100))
    def test_a_session_with_fewer_shares_had_no_more_free_slots(self, free: dict[int, int], limit: int) -> None:
        got = Counter(share_out(free, limit))
        most = max(got.values(), default=0)
        assert all(got[key] in (most, most - 1) or got[key] == free[key] for key in free)


def update(change: Change, ref: LeaseRef | None = REF) -> LeaseUpdate:
    return LeaseUpdate("lease-…", 2, ref, change)


class TestFold:
    def test_updates_of_a_lease_are_folded_in_order(self) -> None:
        run: list[Change] = [AttemptAccepted(), AttemptStarted(), AttemptProgress(10), AttemptProgress(40)]
        folds = fold_updates([update(change) for change in (*run, COMPLETED)])
        assert folds == {REF: FoldedUpdates(REF, True, True, AttemptProgress(40), COMPLETED)}

    def test_updates_after_an_end_are_ignored(self) -> None:
        folds = fold_updates([update(change) for change in (RELEASED, AttemptStarted(), AttemptProgress(9), COMPLETED)])
        assert folds == {REF: FoldedUpdates(REF, ending=RELEASED)}

    def test_a_start_implies_that_it_was_accepted(self) -> None:
        assert fold_updates([update(AttemptStarted())])[REF].accepted

    def test_leases_are_folded_apart(self) -> None:
        folds = fold_updates([update(AttemptAccepted()), update(FAILED, OTHER), update(AttemptStarted())])
        assert folds == {REF: FoldedUpdates(REF, True, True), OTHER: FoldedUpdates(OTHER, ending=FAILED)}

    def test_ids_that_are_no_lease_are_left_out(self) -> None:
        assert fold_updates([update(COMPLETED, None)]) == {}


# The watch over two clocks: jumps add up, what is slow or lies long back does not.


@pytest.mark.parametrize(
    ("seen", "took", "gained"),
    [
        ([(5000, 0), (5003, 3), (5006, 6)], 0, [0, 0, 0]),  # they go alike, whatever they show
        ([(0, 0), (5, 3), (10, 6), (15, 9)], 0, [0, 2, 4, 6]),  # small jumps add up
        ([(10, 0), (3, 3), (6, 6), (11, 9)], 0, [0, 0, 0, 2]),  # from the smallest lead of the database on
        ([(0, 0), (62, 60), (132, 130), (133, 131)], 0, [0, 2, 2, 0]),  # for a lease time
        ([(0, 0), (9, 3)], 6, [-6, 0]),  # a statement that takes long is no gain
    ],
)
def test_a_gain_is_what_the_database_s_clock_is_ahead(
    seen: list[tuple[float, float]], took: float, gained: list[float]
) -> None:
    """`seen`: the database's time and ours, from which on a statement takes a while."""
    watch = ClockWatch(TTL, HEARTBEAT)
    assert [watch.gained(database, ours, ours + took) for database, ours in seen] == gained


@given(st.lists(st.floats(0, 3), min_size=1, max_size=30), st.floats(-1e6, 1e6))
def test_ticks_a_lease_time_long_show_all_that_was_gained(jumps: list[float], begin: float) -> None:
    watch = ClockWatch(TTL, HEARTBEAT)
    watch.gained(begin, 0.0, 0.0)
    ahead = begin
    for number, jump in enumerate(jumps, start=1):
        ahead += jump
        gained = watch.gained(ahead + 3.0 * number, 3.0 * number, 3.0 * number)
    assert abs(gained - sum(jumps)) < 1e-6


@given(st.lists(st.tuples(st.floats(0, 60), st.floats(-20, 20)), min_size=1, max_size=30))
def test_the_gain_is_what_lies_above_the_smallest_lead_of_the_window(ticks: list[tuple[float, float]]) -> None:
    watch, now, ahead, leads = ClockWatch(TTL, HEARTBEAT), 0.0, 0.0, []
    for pause, jump in ticks:
        now, ahead = now + pause, ahead + jump
        leads.append((now, ahead))
        smallest = min(lead for at, lead in leads if at >= now - TTL - HEARTBEAT)
        assert abs(watch.gained(ahead + now, now, now) - (ahead - smallest)) < 1e-6


def test_the_limit_is_half_of_a_worker_s_time_to_stop_its_cli() -> None:
    assert [is_ahead(gained, 120.0) for gained in (5.0, 5.1)] == [False, True]
    assert [is_ahead(gained, 3.0) for gained in (0.5, 0.6)] == [False, True]


# The figures of a poll.


HEARD, SILENT = "heard", "silent"


def test_a_poll_without_attempts_counts_nothing() -> None:
    assert summarize([], set()) == PollResult()


def test_ends_count_whoever_answered_and_what_runs_on_by_its_worker() -> None:
    fates = [
        AttemptCount(worker_id, status, attempts)
        for worker_id, factor in ((HEARD, 1), (SILENT, 100))
        for status, attempts in (
            (Status.NONE, 1 * factor),
            (Status.SUBMITTED, 2 * factor),
            (Status.COMPLETED, 3 * factor),
            (Status.FAILED, 4 * factor),
            (Status.TIMEOUT, 5 * factor),
        )
    ]
    assert summarize(fates, {SILENT}) == PollResult(
        total=1515, completed=303, failed=404, timeout=505, still_running=2, error=200
    )


# Which sessions a claim is for: those that are asked first, then the emptiest.


def test_a_session_that_is_asked_first_comes_before_emptier_ones() -> None:
    capacities = SessionCapacities()
    capacities.put(1, 100)
    capacities.put(2, 1, first=True)
    assert list(capacities) == [2, 1]
    capacities.put(2, 1)
    assert list(capacities) == [1, 2]


# What is read of the messages of workers.


MAX_OUTPUT = 8_192


def read(**update: Any) -> LeaseUpdate:
    (read_update,) = messages.updates(pb.Report(updates=[pb.LeaseUpdate(lease_id="lease", attempt=1, **update)]))
    return read_update


@pytest.mark.parametrize("character", ["x", "文", "😀"])
def test_the_end_of_a_long_output_is_kept(character: str) -> None:
    sent = pb.RunOutput(stdout="begin" + character * (MAX_OUTPUT - 3) + "end", stderr=character * MAX_OUTPUT)
    output = read(failed=pb.Failed(), output=sent).output
    assert output
    assert (len(output.stdout), output.stdout[-4:], output.stdout_truncated) == (MAX_OUTPUT, f"{character}end", True)
    assert (output.stderr, output.stderr_truncated) == (character * MAX_OUTPUT, False)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (pb.RunOutput(stdout="\0", stderr="a\0b"), RunOutput("", "ab")),
        (pb.RunOutput(stdout="\0", stdout_truncated=True), None),
        (pb.RunOutput(), None),
    ],
    ids=["a NUL", "only a NUL", "nothing"],
)
def test_what_cannot_be_stored_of_an_output_is_left_out(sent: pb.RunOutput, kept: RunOutput | None) -> None:
    assert read(failed=pb.Failed(), output=sent).output == kept


def test_an_attempt_ends_as_its_update_says() -> None:
    error = task_pb2.TaskError(reason="TASK_TIMEOUT", message="it failed", details={"exit_code": "3"})
    assert read(failed=pb.Failed(error=error)).change == AttemptFailed(
        TaskError("TASK_TIMEOUT", "it failed", {"exit_code": "3"})
    )
    for started in (False, True):
        released = pb.Released(reason=pb.RELEASE_REASON_REFUSED, started=started)
        assert read(released=released).change == AttemptReleased(Release.REFUSED, started)
    with pytest.raises(InvalidArgument, match="must be a known reason"):
        read(released=pb.Released())


@pytest.mark.parametrize(
    ("retry_after", "waits"),
    [
        (None, 30),
        (Duration(seconds=90), 90),
        (Duration(seconds=-(2**63), nanos=-1), 1),
        (Duration(seconds=2**63 - 1), 86_400),
    ],
    ids=["unset", "set", "negative", "for ever"],
)
def test_a_deferral_has_a_bounded_wait_and_message(retry_after: Duration | None, waits: float) -> None:
    change = read(deferred=pb.Deferred(retry_after=retry_after, message="m" * 2_000)).change
    assert isinstance(change, AttemptDeferred)
    assert (deferral_wait(change.pause, jitter=0.0), change.message) == (waits, "m" * 1_000)


@pytest.mark.parametrize("poll_id", ["", "0", "-1", "1" * 19, "٣", "what?"])
def test_a_heartbeat_that_answers_no_known_poll_answers_none(poll_id: str) -> None:
    assert messages.heartbeat(pb.Heartbeat(number=1, last_poll_id=poll_id)).last_poll == 0


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (pb.Result(body=""), "CREATOR_INVALID_RESPONSE"),
        (pb.Result(body="x" * (3 << 20), html_body="x"), "RESULT_TOO_LARGE"),
    ],
)
def test_a_result_that_cannot_be_stored_is_a_failure(result: pb.Result, reason: str) -> None:
    change = read(completed=pb.Completed(result=result)).change
    assert isinstance(change, AttemptFailed)
    assert change.error.reason == reason


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        (pb.ReportPart(report_number=2, data=b"x"), "must be 1 until that report's last part"),
        (pb.ReportPart(report_number=1, data=bytes(3 << 20)), "at most 4,194,304 bytes"),
    ],
    ids=["another report", "too many bytes"],
)
def test_invalid_parts_of_a_report_are_refused(second: pb.ReportPart, problem: str) -> None:
    parts = ReportParts()
    assert parts.add(pb.ReportPart(report_number=1, data=bytes(2 << 20))) is None
    with pytest.raises(InvalidArgument, match=problem):
        parts.add(second)
