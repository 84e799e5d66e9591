"""Requests of WatchTasks: what to watch, and the resume tokens.

A token holds a position, the id of the database's history, and a fingerprint of what is watched.
"""

from __future__ import annotations

from typing import cast

from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.change import TaskChange
from scheduler_svc.domain.errors import NotFound
from scheduler_svc.domain.ids import KEY_MAX, parse_task_id
from scheduler_svc.runtime import pages
from scheduler_svc.runtime.validation import MAX_ITEMS, Violations
from scheduler_svc.tasks import messages
from scheduler_svc.watch.watches import TaskWatch
from scheduler_svc.watch.work import Position, Selection

_MAX_TOKEN = 250
"""Characters that fit into the metadata of an error."""


def selection(request: pb.WatchTasksRequest, scope: Scope) -> Selection:
    """What to watch: the tasks that are named, or all of the scope. Raises InvalidArgument, NotFound."""
    with Violations() as violations:
        violations.account_filter("account_id", request.account_id)
        if request.task_ids and request.account_id:
            violations.add("account_id", "must be 0 if task_ids are given")
        elif violations.count("task_ids", len(request.task_ids), 0, MAX_ITEMS):
            for i, task_id in enumerate(request.task_ids):
                violations.required(f"task_ids[{i}]", task_id)
    if not request.task_ids:
        return Selection(scope=scope)
    return Selection(tuple(sorted({_key(task_id) for task_id in request.task_ids})))


def _key(task_id: str) -> int:
    key = parse_task_id(task_id)
    if key is None:
        raise NotFound("task", task_id)
    return key


def resume_position(request: pb.WatchTasksRequest, watched: Selection) -> tuple[Position, str] | None:
    """The position and the history's id in the request's token. Returns None if it has none; raises InvalidArgument."""
    if not request.resume_token:
        return None
    with Violations() as violations:
        position = _read(request.resume_token, watched)
        if position is None:
            violations.add("resume_token", "must be a resume_token of WatchTasks with the same selection")
    return position


def resume_token(position: Position, origin: str, fingerprint: str) -> str:
    """The token for a watch of the same selection that starts after this position."""
    return pages.write_token(*position, origin, fingerprint)


class Responses:
    """A watch's messages, and its resume token."""

    def __init__(self, watch: TaskWatch, watched: Selection) -> None:
        self._watch = watch
        self._fingerprint = fingerprint(watched)

    @property
    def token(self) -> str:
        """The resume token of the watch's position."""
        return resume_token(self._watch.position, self._watch.origin, self._fingerprint)

    def encode(self, change: TaskChange) -> bytes:
        """Returns the message of the change at the watch's position: the same for every watch of the selection."""
        return pb.WatchTasksResponse(event=messages.task_change(change, self.token)).SerializeToString()


def _read(text: str, watched: Selection) -> tuple[Position, str] | None:
    parts = pages.read_token(text, parts=5, limit=_MAX_TOKEN) or ()
    if [type(part) for part in parts] != [int, int, bool, str, str]:
        return None
    number, key, listing, origin, token_fingerprint = cast(tuple[int, int, bool, str, str], tuple(parts))
    if not (0 <= number <= KEY_MAX and 0 <= key <= KEY_MAX) or token_fingerprint != fingerprint(watched):
        return None
    return Position(number, key, listing), origin


def fingerprint(watched: Selection) -> str:
    """Tokens of an account's watch, and of named tasks, stay valid across versions."""
    account_ids = () if watched.scope is None else watched.scope.accounts or ()
    return pages.fingerprint_of([account_ids[0] if len(account_ids) == 1 else list(account_ids) or 0, watched.keys])
