"""Requests of WatchTasks: what is watched, and the tokens that say how far. Part of `api`.

A token holds a position, the history of the database that it is of, and a fingerprint of what is watched. It is opaque
to clients, but no secret: a forged position shows nothing that the watch itself would not.
"""

from __future__ import annotations

import base64
import hashlib
import json

from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.api.messages.validation import MAX_ITEMS, Violations
from scheduler_svc.application.watch.changes import Position, Selection
from scheduler_svc.domain.errors import NotFound
from scheduler_svc.domain.ids import KEY_MAX, parse_task_id

_MAX_TOKEN = 250
"""What fits into the metadata of an error."""


def selection(request: pb.WatchTasksRequest) -> Selection:
    """What is watched. Raises InvalidArgument, and NotFound where an id can't exist."""
    with Violations() as bad:
        bad.account_filter("account_id", request.account_id)
        if request.task_ids and request.account_id:
            bad.add("account_id", "must be 0 where task_ids are given")
        elif not request.task_ids and not request.account_id:
            bad.add("task_ids", "or account_id is required")
        elif bad.count("task_ids", len(request.task_ids), 0, MAX_ITEMS):
            for i, task_id in enumerate(request.task_ids):
                bad.required(f"task_ids[{i}]", task_id)
    return Selection(tuple(sorted({_key(task_id) for task_id in request.task_ids})), request.account_id)


def _key(task_id: str) -> int:
    key = parse_task_id(task_id)
    if key is None:
        raise NotFound("task", task_id)
    return key


def resumed(request: pb.WatchTasksRequest, watched: Selection) -> tuple[Position, str] | None:
    """The position of the request's token and the history that it is of; None where it begins anew.

    Raises InvalidArgument where the token is none, or of another selection.
    """
    if not request.resume_token:
        return None
    with Violations() as bad:
        found = _read(request.resume_token, watched)
        if found is None:
            bad.add("resume_token", "must be the resume_token of an event of WatchTasks with the same selection")
    return found


def token(position: Position, origin: str, watched: Selection) -> str:
    """Where to go on after this position, for the same selection only."""
    parts = [position.number, position.key, position.listing, origin, _fingerprint(watched)]
    return base64.urlsafe_b64encode(json.dumps(parts, separators=(",", ":")).encode()).decode()


def _read(text: str, watched: Selection) -> tuple[Position, str] | None:
    if len(text) > _MAX_TOKEN:
        return None
    try:
        number, key, listing, origin, fingerprint = json.loads(base64.b64decode(text, altchars=b"-_", validate=True))
    except (ValueError, TypeError):
        return None
    if [type(part) for part in (number, key, listing, origin)] != [int, int, bool, str]:
        return None
    if not (0 <= number <= KEY_MAX and 0 <= key <= KEY_MAX) or fingerprint != _fingerprint(watched):
        return None
    return Position(number, key, listing), origin


def _fingerprint(watched: Selection) -> str:
    scope = json.dumps([watched.account_id, watched.keys]).encode()
    return hashlib.blake2b(scope, digest_size=9).hexdigest()
