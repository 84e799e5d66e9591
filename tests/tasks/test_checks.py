"""Checks of requests, the table of a submit's fields, and what counts in the queue."""

from __future__ import annotations

import inspect
import re
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from contentgen import ContentGenerationClient
from contentgen.cli.commands.submit import Row, rows
from contentgen.cli.values import seconds
from contentgen.client.tasks import submit_request
from contentgen.submit_fields import FIELDS, NAMES, Field, Kind
from contentgen.v1 import schedule_service_pb2 as schedule_pb
from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.config import Settings
from scheduler_svc.domain.errors import InvalidArgument
from scheduler_svc.domain.lifecycle import RetryBackoff
from scheduler_svc.domain.task import (
    MAX_LENGTHS,
    TEXTS,
    Brief,
    NewTask,
    as_inserted,
    counts_in_queue,
    day_of,
    first_uncounted_day,
)
from scheduler_svc.runtime import validation as times
from scheduler_svc.runtime.validation import RESERVED_OPTIONS, SubmitViolations, Violations
from scheduler_svc.schedules.service import new_settings
from scheduler_svc.tasks import messages
from scheduler_svc.tasks.messages import EDITABLE, new_task

pytestmark = pytest.mark.unit


SETTINGS = Settings()


def submit(**fields: object) -> pb.SubmitTaskRequest:
    return pb.SubmitTaskRequest(**{"account_id": 1, "topic": "a topic"} | fields)  # type: ignore[arg-type]


def read(request: pb.SubmitTaskRequest) -> NewTask:
    with SubmitViolations(SETTINGS) as bad:
        return new_task(request, bad)


def bad_fields(request: pb.SubmitTaskRequest) -> dict[str, str]:
    with pytest.raises(InvalidArgument) as raised:
        read(request)
    return {violation.field: violation.description for violation in raised.value.violations}


def test_what_is_unset_and_has_no_default_stays_unset() -> None:
    stored = messages.task(as_inserted(1, read(submit()), NOW))
    for unset in ("schedule_time", "expire_time", "initial_backoff", "backoff_multiplier", "max_backoff", "unique_for"):
        assert not stored.HasField(unset), unset


def test_a_brief_has_a_length_for_each_text() -> None:
    assert (*MAX_LENGTHS, "creator_options") == Brief._fields


@pytest.mark.parametrize(("field", "most"), [("topic", 4_000), ("keywords", 2_000), ("category", 200), ("tone", 200)])
@pytest.mark.parametrize("character", ["a", "题", "😀"])
def test_text_limits_count_code_points(field: str, most: int, character: str) -> None:
    assert getattr(read(submit(**{field: character * most})).brief, field) == character * most
    assert bad_fields(submit(**{field: character * (most + 1)})) == {
        field: f"must have at most {most:,} characters, has {most + 1:,}"
    }


def test_topic_and_requirements_have_at_most_64_kib_together() -> None:
    topic = "😀" * 4_000
    remaining = (64 * 1024 - 4 * 4_000) // 4
    assert read(submit(topic=topic, requirements="😀" * remaining)).brief.topic == topic
    assert bad_fields(submit(topic=topic, requirements="😀" * remaining + "a")).keys() == {"requirements"}


@pytest.mark.parametrize("topic", ["", " ", "\t\r\n", "\u3000\u00a0"])
def test_a_topic_of_whitespace_is_refused(topic: str) -> None:
    assert "is required" in bad_fields(submit(topic=topic))["topic"]


def test_keys_and_values_of_labels_are_bounded() -> None:
    labels = {"": "v", "k" * 64: "v", "key": "v" * 256}
    assert bad_fields(submit(labels=labels)).keys() == {'labels[""]', f'labels["{"k" * 40}…"]', 'labels["key"]'}


def test_33_labels_are_too_many_and_are_not_checked() -> None:
    read(submit(labels={f"k{i}": "" for i in range(32)}))
    assert bad_fields(submit(labels={f"k{i}\0": "" for i in range(33)})) == {
        "labels": "must have 0 to 32 items, has 33"
    }


@pytest.mark.parametrize("key", [*sorted(RESERVED_OPTIONS), "", "-x", "1x", "X", "a_b", "a=b", "a b", "ключ", "a\n"])
def test_creator_options_refuse_reserved_and_malformed_keys(key: str) -> None:
    assert len(bad_fields(submit(creator_options={key: "v"}))) == 1


def test_creator_options_have_limits() -> None:
    options = {f"option-{i}": "v" * 1_000 for i in range(32)}
    assert read(submit(creator_options=options)).brief.creator_options == options
    assert bad_fields(submit(creator_options=options | {"one-more": ""})).keys() == {"creator_options"}
    assert len(bad_fields(submit(creator_options={"a": "v" * 1_001, "b" * 64: ""}))) == 2


def test_violations_do_not_hide_another_error() -> None:
    bad = Violations()
    bad.add("field", "is bad")
    with pytest.raises(KeyError), bad:
        raise KeyError


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_survives_the_message(time: datetime) -> None:
    message = times.timestamp(time)
    assert message is not None
    assert times.datetime_of(message) == time


@given(st.timedeltas(timedelta(0), times.MAX_DURATION))
def test_a_duration_survives_the_message(length: timedelta) -> None:
    message = times.duration(length)
    assert message is not None
    assert times.timedelta_of(message) == length


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1))
def test_any_timestamp_is_a_time_or_none(seconds: int, nanos: int) -> None:
    for value in (
        times.datetime_of(Timestamp(seconds=seconds, nanos=nanos)),
        times.timedelta_of(Duration(seconds=seconds, nanos=nanos)),
    ):
        assert value is None or 0 <= nanos < 1_000_000_000


_strings = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
_options = {
    "account_id": st.integers(-(2**63), 2**63 - 1),
    "priority": st.integers(-(2**31), 2**31 - 1),
    "max_retries": st.integers(-(2**31), 2**31 - 1),
    "timeout": st.builds(Duration, seconds=st.integers(-(2**63), 2**63 - 1), nanos=st.integers(-(2**31), 2**31 - 1)),
    "schedule_time": st.builds(
        Timestamp, seconds=st.integers(-(2**63), 2**63 - 1), nanos=st.integers(-(2**31), 2**31 - 1)
    ),
    "labels": st.dictionaries(_strings, _strings, max_size=40),
    "creator_options": st.dictionaries(_strings, _strings, max_size=40),
} | dict.fromkeys((*TEXTS, "request_id"), _strings)


@given(st.fixed_dictionaries({}, optional=_options))
def test_any_request_is_a_task_within_all_bounds_or_invalid(fields: dict[str, object]) -> None:
    try:
        new = read(pb.SubmitTaskRequest(**fields))  # type: ignore[arg-type]
    except InvalidArgument:
        return
    options = new.brief.creator_options
    texts = [*new.brief.texts, new.request_id, *new.labels, *new.labels.values(), *options, *options.values()]
    assert not any("\0" in text for text in texts)
    assert new.account_id >= 1
    assert new.brief.topic.strip()
    assert 1 <= new.priority <= 10
    assert new.timeout >= timedelta(seconds=1)
    assert new.fingerprint() == new.fingerprint()


def test_a_fingerprint_is_the_same_as_in_the_version_before() -> None:
    """So a submit with a request_id may be repeated after an upgrade."""
    assert read(submit(labels={"a": "b"})).fingerprint().hex() == "f815847d1b6b0c028105d5ce47120f8b"
    two, turned = {"a": "1", "b": "2"}, {"b": "2", "a": "1"}
    assert read(submit(labels=two)).fingerprint() == read(submit(labels=turned)).fingerprint()
    second = Duration(seconds=1)
    others = [submit(initial_backoff=second), submit(max_backoff=second), submit(backoff_multiplier=2)]
    others += [submit(expire_time=Timestamp(seconds=4_000_000_000)), submit(unique_key="u")]
    others.append(submit(unique_key="u", unique_for=second))
    assert len({read(request).fingerprint() for request in (submit(), *others)}) == 7


def test_only_a_unique_key_is_kept_for_a_time() -> None:
    hour, long = Duration(seconds=3_600), Duration(seconds=3_651 * 86_400)
    assert bad_fields(submit(unique_for=hour)) == {"unique_for": "must not be set without unique_key"}
    assert bad_fields(submit(unique_key="u", unique_for=long)).keys() == {"unique_for"}
    assert (read(submit(unique_key="u")).unique_for, read(submit()).unique_key) == (timedelta(0), "")
    assert read(submit(unique_key="u", unique_for=hour)).unique_for == timedelta(hours=1)


def test_a_task_expires_after_it_is_due() -> None:
    time = Timestamp(seconds=4_000_000_000)
    assert bad_fields(submit(schedule_time=time, expire_time=time)) == {"expire_time": "must be after schedule_time"}
    assert read(submit(expire_time=time)).expire_time == datetime.fromtimestamp(4_000_000_000, UTC)


def test_a_submit_sets_the_backoff_of_its_task() -> None:
    assert read(submit()).backoff == RetryBackoff()
    waits = {"initial_backoff": Duration(nanos=1_500_000), "max_backoff": Duration(seconds=60)}
    assert read(submit(**waits, backoff_multiplier=1.5)).backoff == RetryBackoff(1, 1.5, 60_000)


@pytest.mark.parametrize(
    ("fields", "field", "expected"),
    [
        ({"initial_backoff": Duration()}, "initial_backoff", "must be a duration of 0.001 s to 2,592,000 s"),
        ({"backoff_multiplier": 0.5}, "backoff_multiplier", "must be 1 to 100, is 0.5"),
        (
            {"initial_backoff": Duration(seconds=5), "max_backoff": Duration(seconds=4)},
            "max_backoff",
            "must be at least initial_backoff",
        ),
    ],
)
def test_backoffs_out_of_range_are_refused(fields: dict[str, object], field: str, expected: str) -> None:
    violations = bad_fields(submit(**fields))
    assert list(violations) == [field]
    assert violations[field].startswith(expected)


# The table of a submit's fields says what the message has, what a scheduler accepts, and what the client takes.


BOUNDED = [field for field in FIELDS if field.most]
SOME: dict[Kind, Any] = {
    Kind.ID: 1,
    Kind.TEXT: "a text",
    Kind.WORDS: "AI,技术",
    Kind.WHOLE: 7,
    Kind.NUMBER: 2.5,
    Kind.YES_NO: False,
    Kind.LENGTH: 90.0,
    Kind.TIME: datetime(2099, 1, 31, tzinfo=UTC),
    Kind.PAIRS: {"key": "value"},
}


def of_client(**fields: Any) -> pb.SubmitTaskRequest:
    """The request that the client makes of these arguments."""
    return submit_request(**{"account_id": 1, "topic": "a topic", **fields})


def beside(field: Field) -> dict[str, Any]:
    """What a field needs beside it."""
    return {"unique_key": "a key"} if field.name == "unique_for" else {}


def test_the_table_has_the_fields_of_the_message_and_the_arguments_of_the_client() -> None:
    names = {field.name for field in FIELDS}
    assert names == {field.name for field in pb.SubmitTaskRequest.DESCRIPTOR.fields}
    with ContentGenerationClient("127.0.0.1:1") as client:
        assert names == {*inspect.signature(client.submit_task).parameters}
    assert len(NAMES) == sum(1 + len(field.columns) for field in FIELDS)


@pytest.mark.parametrize("name", ["submit_task", "update_task"])
def test_help_says_what_each_argument_means_and_others_are_refused(name: str) -> None:
    with ContentGenerationClient("127.0.0.1:1") as client:
        method = getattr(client, name)
        meanings = re.findall(r"^    (\w+): \w", inspect.getdoc(method) or "", re.MULTILINE)
        assert set(inspect.signature(method).parameters) <= set(meanings)
        with pytest.raises(TypeError, match=rf"{name}\(\) got an unexpected keyword argument 'tpoic'"):
            method(1, tpoic="a topic")


@pytest.mark.parametrize("field", BOUNDED, ids=lambda field: field.name)
def test_a_scheduler_takes_what_is_within_the_bounds_and_no_more(field: Field) -> None:
    step = {Kind.LENGTH: 0.001, Kind.NUMBER: 0.01}.get(field.kind, 1)
    texts = field.kind in {Kind.TEXT, Kind.WORDS}

    def holding(value: float) -> pb.SubmitTaskRequest:
        return of_client(**beside(field), **{field.name: "x" * int(value) if texts else value})

    for value in (field.least, field.most):
        read(holding(value))
    beyond = [field.least - step] if field.least else []
    if field.kind is not Kind.ID:
        beyond.append(field.most + step)
    for value in beyond:
        assert bad_fields(holding(value)).keys() == {field.name}


@pytest.mark.parametrize("field", [field for field in FIELDS if field.default], ids=lambda field: field.name)
def test_what_is_unset_has_the_default_that_the_table_says(field: Field) -> None:
    new, default = read(of_client()), field.default.partition(",")[0]
    first, second, last = (new.backoff.before(retry, jitter=0.5) for retry in (1, 2, 100))
    backoffs = {"initial_backoff": first, "backoff_multiplier": second / first, "max_backoff": last}
    value = backoffs.get(field.name) or getattr(new, field.name)
    length = field.kind is Kind.LENGTH and seconds(default)
    wanted = True if default == "yes" else length or float(default)
    assert value == (timedelta(seconds=length) if field.name == "timeout" else wanted)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_a_schedule_takes_the_fields_that_the_table_says(field: Field) -> None:
    template = submit_request(**{"topic": "a topic", **beside(field), field.name: SOME[field.kind]})
    request = schedule_pb.CreateScheduleRequest(account_id=1, cron="0 9 * * *", template=template)
    taken = field.in_schedule or field.name == "account_id"  # of which the schedule's own holds
    outcome = nullcontext() if taken else pytest.raises(InvalidArgument, match="unique_key|" + field.name)
    with outcome, SubmitViolations(SETTINGS) as bad:
        new_settings(request, bad)


def test_a_pending_task_takes_the_changes_that_the_table_says() -> None:
    assert {field.name for field in FIELDS if field.changeable} == set(EDITABLE)


def test_a_file_may_have_each_field_by_each_of_its_names(tmp_path: Path) -> None:
    texts = {Kind.TIME: "2099-01-31T00:00:00+00:00", Kind.LENGTH: "90s", Kind.PAIRS: "key=value", Kind.YES_NO: "no"}
    for name, field_name in NAMES.items():
        kind = next(field.kind for field in FIELDS if field.name == field_name)
        file = tmp_path / "rows.csv"
        head, more = (name, "") if field_name == "topic" else (f"topic,{name}", "a topic,")
        file.write_text(f'{head}\n{more}"{texts.get(kind, SOME[kind])}"\n', "utf-8")
        [row] = rows(str(file), submit_request(account_id=1), "run")
        assert isinstance(row, Row), row
        wanted = getattr(submit_request(**{field_name: SOME[kind]}), field_name)
        assert getattr(row.request, field_name) == wanted


# Which pending tasks count against the bound of the queue.


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule_time", "counted"),
    [
        (None, True),
        (NOW - timedelta(days=900), True),
        (NOW + timedelta(hours=24), True),
        (datetime(2026, 3, 2, 23, 59, 59, 999999, UTC), True),
        (datetime(2026, 3, 3, tzinfo=UTC), False),
        (datetime(2026, 3, 3, 1, tzinfo=timezone(timedelta(hours=2))), True),
        (datetime(9999, 12, 31, tzinfo=UTC), False),
    ],
)
def test_tasks_scheduled_for_later_than_tomorrow_do_not_count(schedule_time: datetime | None, counted: bool) -> None:
    assert counts_in_queue(schedule_time, NOW) is counted


def test_days_are_counted_in_utc() -> None:
    assert (day_of(datetime(1970, 1, 1, 23, tzinfo=UTC)), day_of(datetime(1970, 1, 2, tzinfo=UTC))) == (0, 1)
    assert first_uncounted_day(NOW) == day_of(NOW) + 2
