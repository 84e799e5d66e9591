"""The table of a submit's fields says what the message has, what a scheduler accepts, and what the client takes."""

from __future__ import annotations

import inspect
import re
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contentgen import ContentGenerationClient
from contentgen.cli.rows import Row, rows
from contentgen.cli.values import seconds
from contentgen.client.submits import submit_request
from contentgen.submit_fields import FIELDS, NAMES, Field, Kind
from contentgen.v1 import schedule_service_pb2 as schedule_pb
from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.config import Settings
from scheduler_svc.domain.bounds import SubmitBounds
from scheduler_svc.domain.errors import InvalidArgument
from scheduler_svc.domain.task import NewTask
from scheduler_svc.runtime.briefs import SubmitViolations
from scheduler_svc.schedules.service import new_settings
from scheduler_svc.tasks.messages import EDITABLE, new_task

BOUNDS = SubmitBounds.of(Settings())
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


def accepted(**fields: Any) -> NewTask:
    with SubmitViolations(BOUNDS) as bad:
        return new_task(submit_request(**{"account_id": 1, "topic": "a topic", **fields}), bad)


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
    for value in (field.least, field.most):
        accepted(**beside(field), **{field.name: "x" * int(value) if texts else value})
    beyond = [field.least - step] if field.least else []
    if field.kind is not Kind.ID:
        beyond.append(field.most + step)
    for value in beyond:
        with pytest.raises(InvalidArgument) as raised:
            accepted(**beside(field), **{field.name: "x" * int(value) if texts else value})
        assert {violation.field for violation in raised.value.violations} == {field.name}


@pytest.mark.parametrize("field", [field for field in FIELDS if field.default], ids=lambda field: field.name)
def test_what_is_unset_has_the_default_that_the_table_says(field: Field) -> None:
    new, default = accepted(), field.default.partition(",")[0]
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
    with outcome, SubmitViolations(BOUNDS) as bad:
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
