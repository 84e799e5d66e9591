"""What operators write and read, and texts that can be translated."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import typer
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console

from contentgen.cli import cells, values
from contentgen.cli.output import Column, Format, Output, document, table
from contentgen.doctor.findings import Phrase, joined
from contentgen.v1 import task_pb2

pytestmark = pytest.mark.unit


# What operators write and read: durations, times, pairs; texts that can do a terminal no harm; documents.


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Eight hours east of Greenwich."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "CST-8")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("0.5", 0.5), ("200ms", 0.2), ("2m", 120), ("2 min", 120), ("1h", 3600), ("7d", 604_800)],
)
def test_durations(text: str, seconds: float) -> None:
    assert values.seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "-1", "1 year", "4000d", "1e3", "m"])
def test_invalid_durations_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="should be a duration such as 90"):
        values.seconds(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2030-01-31T08:00", datetime(2030, 1, 31, 0, tzinfo=UTC)),
        ("2030-01-31 08:00:30", datetime(2030, 1, 31, 0, 0, 30, tzinfo=UTC)),
        ("2030-01-31T08:00Z", datetime(2030, 1, 31, 8, tzinfo=UTC)),
        ("2030-01-31T08:00+01:00", datetime(2030, 1, 31, 7, tzinfo=UTC)),
        ("2030-01-31", datetime(2030, 1, 30, 16, tzinfo=UTC)),
    ],
)
def test_a_time_without_a_zone_is_local(text: str, moment: datetime, zone: None) -> None:
    assert values.moment(text) == moment


def test_a_time_from_now() -> None:
    moment = values.moment("+2h")
    assert moment is not None
    assert abs(moment - datetime.now(UTC) - timedelta(hours=2)) < timedelta(minutes=1)


def test_pairs_keep_what_stands_behind_the_first_equals_sign() -> None:
    assert values.pairs(["a=1", "b=c=d", "e="]) == {"a": "1", "b": "c=d", "e": ""}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (62.0, "1 min 2 s"),
        (3_720.0, "1 h 2 min"),
        (86_400.0, "1 d"),
        (100_000.0, "1 d 3 h"),
    ],
)
def test_durations_are_read_in_two_units(seconds: float, text: str) -> None:
    assert cells.duration(seconds) == text


def test_tables_show_local_time(zone: None) -> None:
    assert cells.local_time("2026-11-25T16:30:00+00:00") == "2026-11-26 00:30:00"


def test_a_text_cannot_control_the_terminal() -> None:
    assert cells.line("\x1b[2J a\r\nb\t\x9b31m \u202ec\u2066") == "[2J a b 31m c"
    assert cells.lines("# a\n\tb \x1b[2J\x07") == "# a\n\tb  [2J "
    assert cells.line("家庭👩\u200d👩\u200d👧") == "家庭👩\u200d👩\u200d👧"


def test_json_cannot_either(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"topic": "\x1b[2J\x9b31m 新闻"}
    Output(Format.JSONL).one(document, lambda to, item: None)
    written = capsys.readouterr().out
    assert written.strip().isprintable()
    assert json.loads(written) == document


def test_a_document_has_every_field_and_none_for_what_is_not_there() -> None:
    task = task_pb2.Task(
        task_id="task-1",
        status=task_pb2.TASK_STATUS_FAILED,
        create_time=Timestamp(seconds=1_700_000_000, nanos=250_000_000),
        timeout=Duration(seconds=90, nanos=500_000_000),
        labels={"b": "2", "a": "1"},
        error=task_pb2.TaskError(reason="CREATOR_ERROR", details={"exit_code": "3"}),
    )
    fields = document(task)
    assert list(fields) == [field.name for field in task_pb2.Task.DESCRIPTOR.fields]
    assert fields["status"] == "failed"
    assert fields["create_time"] == "2023-11-14T22:13:20.250000+00:00"
    assert fields["timeout"] == 90.5
    assert list(fields["labels"]) == ["a", "b"]
    assert fields["error"] == {"reason": "CREATOR_ERROR", "message": None, "details": {"exit_code": "3"}}
    assert [fields[name] for name in ("topic", "end_time", "progress", "content_id", "pending_reason")] == [None] * 5
    assert (fields["priority"], fields["auto_retry"]) == (0, False)


def test_a_later_row_widens_its_column() -> None:
    out = io.StringIO()
    rows = [{"name": "新闻", "n": 1}] * 200 + [{"name": "newsroom", "n": 22}]
    columns = (Column("NAME", lambda row: row["name"]), Column("N", lambda row: str(row["n"]), right=True))
    assert table(Console(file=out), rows, columns)
    lines = out.getvalue().splitlines()
    assert len(lines) == 1 + len(rows)
    assert (lines[:2], lines[-2:]) == (["NAME  N", "新闻  1"], ["新闻  1", "newsroom  22"])


# Texts of the doctor that can be translated.


CHINESE = {"paused: {what}": "已暂停：{what}", "account {ids}": "账号 {ids}", "everything": "全部"}


def in_chinese(phrase: Phrase) -> str:
    return phrase.said(lambda text, values: CHINESE.get(text, text).format(**values))


def test_a_phrase_is_english_unless_somebody_translates_it() -> None:
    both = joined([Phrase("everything"), Phrase("account {ids}", ids="1")], "; ")
    phrase = Phrase("paused: {what}", what=both)
    assert str(phrase) == "paused: everything; account 1"
    assert in_chinese(phrase) == "已暂停：全部; 账号 1"


def test_what_is_filled_in_is_no_template() -> None:
    assert str(Phrase("{worker}: {error}", worker="w1", error="bad {field}")) == "w1: bad {field}"


def test_nothing_joined_is_empty() -> None:
    assert joined([]) == ""
    assert joined(["one"]) == "one"
