"""Requests of WatchTasks: what to watch, and the resume tokens. Part of `api`.

A token holds a position, the id of the database's history, and a fingerprint of what is watched.
"""

from __future__ import annotations

from typing import cast

from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.api.messages import positions
from scheduler_svc.api.messages.validation import MAX_ITEMS, Violations
from scheduler_svc.application.watch.changes import Position, Selection
from scheduler_svc.domain.access import CallerIdentity
from scheduler_svc.domain.errors import NotFound
from scheduler_svc.domain.ids import KEY_MAX, parse_task_id

_MAX_TOKEN = 250
"""Characters that fit into the metadata of an error."""


def selection(request: pb.WatchTasksRequest, caller: CallerIdentity) -> Selection:
    """What to watch. Raises InvalidArgument, AccountForbidden, and NotFound if an id is impossible."""
    with Violations() as bad:
        bad.account_filter("account_id", request.account_id)
        if request.task_ids and request.account_id:
            bad.add("account_id", "must be 0 if task_ids are given")
        elif bad.count("task_ids", len(request.task_ids), 0, MAX_ITEMS):
            for i, task_id in enumerate(request.task_ids):
                bad.required(f"task_ids[{i}]", task_id)
    if not request.task_ids:
        return Selection(scope=caller.about(request.account_id))
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
    with Violations() as bad:
        found = _read(request.resume_token, watched)
        if found is None:
            bad.add("resume_token", "must be a resume_token of WatchTasks with the same selection")
    return found


def resume_token(position: Position, origin: str, watched: Selection) -> str:
    """The token for a watch of the same selection that starts after this position."""
    return positions.write(position.number, position.key, position.listing, origin, _fingerprint(watched))


def _read(text: str, watched: Selection) -> tuple[Position, str] | None:
    parts = positions.read(text, parts=5, limit=_MAX_TOKEN) or ()
    if [type(part) for part in parts] != [int, int, bool, str, str]:
        return None
    number, key, listing, origin, fingerprint = cast(tuple[int, int, bool, str, str], tuple(parts))
    if not (0 <= number <= KEY_MAX and 0 <= key <= KEY_MAX) or fingerprint != _fingerprint(watched):
        return None
    return Position(number, key, listing), origin


def _fingerprint(watched: Selection) -> str:
    """Tokens of an account's watch, and of named tasks, stay valid across versions."""
    of = () if watched.scope is None else watched.scope.accounts or ()
    return positions.fingerprint([of[0] if len(of) == 1 else list(of) or 0, watched.keys])
