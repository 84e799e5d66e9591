"""Tokens that clients bring back: those of pages and of watches, changed or made up."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path

from contentgen.v1 import task_service_pb2 as pb
from lab.fuzz import values
from lab.fuzz.inputs import documents
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.errors import InvalidArgument
from scheduler_svc.domain.ids import KEY_MAX, parse_lease_id, parse_task_id
from scheduler_svc.runtime.pages import PageRequest
from scheduler_svc.runtime.validation import Violations
from scheduler_svc.tasks import requests as watching
from scheduler_svc.watch.work import Position, Selection


def page_token(source: random.Random, _: Path) -> None:
    """A page token: a position within the list, or refused."""
    request = pb.ListTasksRequest(page_size=source.choice((0, 1, -1, 2**31 - 1)), page_token=_token(source, _PAGE))
    try:
        with Violations() as violations:
            page = PageRequest.of(request, violations, "ListTasks", 0)
    except InvalidArgument as error:
        assert error.violations
    else:
        assert page.position is None or 0 < page.position <= KEY_MAX


def resume_token(source: random.Random, folder: Path) -> None:
    """A resume token: a position in a history, or refused."""
    watched = Selection(scope=Scope.of(1))
    request = pb.WatchTasksRequest(account_id=1, resume_token=_token(source, _RESUME))
    try:
        resumption = watching.resume_position(request, watched)
    except InvalidArgument as error:
        assert error.violations
    else:
        if resumption is not None:
            position, _ = resumption
            assert 0 <= position.number <= KEY_MAX
            assert 0 <= position.key <= KEY_MAX


def public_id(source: random.Random, _: Path) -> None:
    """Ids of tasks and leases: a key that the database can hold, or none."""
    text = values.changed(source.choice(("task-0000000000000001", "lease-0000000000000001-00000001")), source)
    key, ref = parse_task_id(text), parse_lease_id(text, source.choice((1, 0, -1, 2**31)))
    assert key is None or 0 < key <= KEY_MAX
    assert ref is None or (0 <= ref.task_key <= KEY_MAX and ref.fence < 2**31)


_PAGE = json.dumps([5, "0" * 18])
_RESUME = watching.resume_token(
    Position(3, 4, listing=False), "origin", watching.fingerprint(Selection(scope=Scope.of(1)))
)


def _token(source: random.Random, sane: str) -> str:
    """A valid one, one with other parts, or anything."""
    chance = source.random()
    if chance < 0.3:
        return values.changed(sane, source)
    try:
        parts = json.loads(base64.urlsafe_b64decode(_RESUME))
    except ValueError:
        parts = []
    for _ in range(source.randint(0, 2)):
        parts[source.randrange(len(parts))] = documents.value(source)
    body = documents.spoilt(documents.encoded(documents.line(parts, source)), source)
    return base64.urlsafe_b64encode(body).decode()[: source.choice((250, 4_000, 10_000))]
