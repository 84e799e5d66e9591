"""Values of old rows, and what an import shows of its progress."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from old_application import rules
from old_application.old_rows import LeftOut, OldRow, RowKind
from old_application.progress import ImportProgress, ImportTally
from old_application.rules import OldResult
from scheduler_svc.domain.ids import make_past_key
from scheduler_svc.domain.lifecycle import Status

pytestmark = pytest.mark.unit

NOON = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)


def reason(read: Callable[[], object]) -> str:
    with pytest.raises(LeftOut) as raised:
        read()
    return raised.value.reason


@pytest.mark.parametrize(
    "value",
    [
        NOON,
        NOON.replace(tzinfo=None),
        NOON.astimezone(timezone(timedelta(hours=8))),
        "2025-03-01 12:00:00",
        "2025-03-01 12:00:00.000000",
        " 2025-03-01T20:00:00+08:00 ",
        "2025-03-01T12:00:00Z",
    ],
)
def test_a_time_without_a_zone_is_utc(value: object) -> None:
    assert OldRow({"at": value}).time("at") == NOON


@pytest.mark.parametrize("value", [None, "", "soon", 1_740_000_000, "0001-01-01T00:00:00+14:00"])
def test_a_time_that_can_t_be_read_counts_as_missing(value: object) -> None:
    assert OldRow({"at": value}).time("at") is None


@pytest.mark.parametrize(
    ("value", "number"), [(7, 7), ("7", 7), (" -7 ", -7), (7.0, 7), (Decimal("7.00"), 7), (True, 1), (None, None)]
)
def test_a_whole_number_in_any_dress(value: object, number: int | None) -> None:
    assert OldRow({"n": value}).number("n") == number


@pytest.mark.parametrize("value", ["seven", "", 7.5, 1e300, float("nan"), 10**18, b"7", []])
def test_values_that_are_no_whole_numbers_are_named(value: object) -> None:
    assert reason(lambda: OldRow({"n": value}).number("n")).startswith("n should be a whole number")


def test_missing_values_have_their_defaults() -> None:
    row = OldRow({})
    assert (row.text("t"), row.number("n"), row.time("at"), row.document("d")) == ("", None, None, None)
    assert (row.flag("f", True), row.flag("f", False)) == (True, False)
    assert reason(lambda: row.required_number("n")) == "n is missing"


@pytest.mark.parametrize(
    ("value", "so"), [(1, True), (0, False), (True, True), ("0", False), ("False", False), ("t", True), ("", False)]
)
def test_truth_is_kept_in_many_ways(value: object, so: bool) -> None:
    assert OldRow({"f": value}).flag("f", not so) is so


@pytest.mark.parametrize("value", ["a\0b", "\udcff"])
def test_a_text_that_can_t_be_stored_is_named(value: str) -> None:
    assert reason(lambda: OldRow({"t": value}).text("t")).startswith("t holds NUL or bytes")


def test_a_text_that_is_too_long_is_named_with_its_length() -> None:
    row = OldRow({"t": "字" * 11})
    assert row.text("t", 11) == "字" * 11
    assert reason(lambda: row.text("t", 10)) == "t has 11 characters, and may have 10"


@pytest.mark.parametrize(
    ("value", "document"),
    [
        ('{"a": 1}', {"a": 1}),
        (memoryview(b'{"a": 1}'), {"a": 1}),
        ({"a": 1}, {"a": 1}),
        ("no", None),
        ("[" * 9**5, None),
    ],
)
def test_json_comes_as_text_or_bytes_or_as_it_is(value: object, document: object) -> None:
    assert OldRow({"d": value}).document("d") == document


def test_topic_and_requirements_have_a_bound_together() -> None:
    row = {"id": 1, "account_id": 1, "topic": "题" * 4_000, "requirements": "求" * 17_846}
    assert "bytes together" in reason(lambda: rules.task(OldRow(row)))
    assert rules.task(OldRow(row | {"requirements": "求" * 17_845})).brief.topic == "题" * 4_000


ROW = {"id": 1, "account_id": 1, "content_id": 1, "topic": "a topic", "content": "words"}


@pytest.mark.parametrize(
    ("old", "status"),
    [
        *((old, Status.PENDING) for old in (None, "Pending ", "submitted", "PROCESSING")),
        ("completed", Status.COMPLETED),
        ("time_out", Status.TIMEOUT),
        ("Timed-Out", Status.TIMEOUT),
        ("Canceled", Status.CANCELLED),
    ],
)
def test_the_status_of_a_task_is_read_in_any_spelling(old: str | None, status: Status) -> None:
    assert rules.task(OldRow(ROW | {"status": old})).status is status


@pytest.mark.parametrize(("old", "priority"), [(0, 1), (99, 10), (None, 5), (-3, 1), (7, 7)])
def test_a_priority_out_of_bounds_is_clamped(old: int | None, priority: int) -> None:
    assert rules.task(OldRow(ROW | {"priority": old})).priority == priority


@pytest.mark.parametrize(("old", "priority"), [(1, 10), (2, 9), (5, 6), (10, 1), (0, 10), (99, 1), (-4, 10), (None, 6)])
def test_the_priority_of_pool_entries_is_reversed(old: int | None, priority: int) -> None:
    assert rules.entry(OldRow(ROW | {"priority": old})).priority == priority


@pytest.mark.parametrize(
    ("old", "status", "error"), [("publishing", 1, ""), ("Published", 3, ""), ("failed", 4, "超时"), (None, 1, "")]
)
def test_the_status_of_pool_entries_is_kept_and_claims_end(old: str | None, status: int, error: str) -> None:
    entry = rules.entry(OldRow(ROW | {"status": old, "last_error": "超时"}))
    assert (entry.status, entry.error) == (status, error)


@pytest.mark.parametrize(
    ("old", "in_pool", "review"),
    [("pending", False, 1), ("approved", False, 2), ("rejected", True, 3), (None, False, 1), ("pending", True, 2)],
)
def test_reviews_are_kept_and_what_is_in_the_pool_counts_as_approved(
    old: str | None, in_pool: bool, review: int
) -> None:
    assert rules.content(OldRow(ROW | {"review_status": old}), in_pool=in_pool).review_status == review


@pytest.mark.parametrize(
    "result", [None, [], "text", 7, {"htmlContent": 5, "images": {}, "qualityScore": "good"}, {"qualityScore": True}]
)
def test_a_result_of_any_shape_is_tolerated(result: object) -> None:
    assert rules.task(OldRow(ROW | {"result": result})).result == OldResult()


def test_html_that_is_too_large_beside_its_body_is_dropped() -> None:
    assert rules.html_beside("body", "<p>") == "<p>"
    assert rules.html_beside("字" * (1 << 20), "<p>") == ""


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.datetimes()
names = ["task_id", "content_id", "topic", "status", "priority", "retry_count", "max_retries", "completed_at", "result"]


@given(st.dictionaries(st.sampled_from(names), anything | st.lists(anything) | st.dictionaries(st.text(), anything)))
def test_a_row_of_anything_is_taken_within_the_bounds_or_left_out(values: dict[str, object]) -> None:
    try:
        task = rules.task(OldRow({"topic": "a topic"} | values | {"id": 1, "account_id": 1}))
    except LeftOut:
        return
    assert 1 <= task.priority <= 10
    assert 0 <= task.retry_count <= task.max_retries <= 100
    assert task.brief.topic.strip()
    assert "\0" not in task.brief.topic + task.old_task_id + task.result.body


@given(st.integers(0, 1 << 42), st.lists(st.integers(1, 1 << 40), unique=True, max_size=20))
def test_keys_of_one_moment_differ_however_far_their_numbers_are_apart(moment: int, numbers: list[int]) -> None:
    assert len({make_past_key(moment, number) for number in numbers}) == len(numbers)


# What an import shows on a terminal, and without one.


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(err: io.StringIO) -> str:
    out = io.StringIO()
    report = ImportProgress(out, err)
    for kind in RowKind:
        report.begins(kind, 1_200)
        report.moved(300)
        if kind is RowKind.POOL_ENTRY:
            report.left_out(kind, 7, "its content 9 is not there")
        report.moved(900)
        report.ends(kind, ImportTally(taken=1_199, before=0, left_out=1))
    report.sums(dry_run=False)
    return out.getvalue()


def test_the_rows_left_out_and_the_sums_are_on_the_standard_output() -> None:
    lines = run(io.StringIO()).splitlines()
    assert lines == [
        "left out: pool entry 7: its content 9 is not there",
        "                     taken      before    left out",
        "accounts             1,199           0           1",
        "tasks                1,199           0           1",
        "contents             1,199           0           1",
        "pool entries         1,199           0           1",
    ]


def test_a_terminal_has_a_bar_that_is_gone_at_the_end() -> None:
    err = Terminal()
    run(err)
    assert "[########......................] tasks 300 of 1,200 (25%" in err.getvalue()
    assert err.getvalue().endswith("\r\033[K")


def test_a_quick_import_shows_no_progress_without_a_terminal() -> None:
    err = io.StringIO()
    run(err)
    assert err.getvalue() == ""
