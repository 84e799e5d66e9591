"""The client's exceptions outside of calls: they can be pickled, so that process pools can return them."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import contentgen.client
from contentgen.client import (
    ContentGenerationError,
    CreatorException,
    FieldViolation,
    InvalidStateException,
    RequestError,
    TaskCancelledException,
    WaitTimeoutException,
)

TASK: Any = {"task_id": "task-1", "status": "cancelled"}
CALL: dict[str, Any] = {
    "code": "ABORTED",
    "reason": "INVALID_STATE",
    "metadata": {"task_id": "task-1"},
    "retry_delay": 2.5,
    "field_violations": [FieldViolation("topic", "is required")],
}
PUBLIC = [
    member
    for member in map(vars(contentgen.client).get, contentgen.client.__all__)
    if isinstance(member, type) and issubclass(member, BaseException)
]


def made(kind: type[ContentGenerationError]) -> ContentGenerationError:
    """An exception of this class with all that its constructor takes."""
    if issubclass(kind, InvalidStateException):
        return kind("it failed", "pending", "failed", **CALL)
    if issubclass(kind, RequestError):
        return kind("it failed", **CALL)
    if issubclass(kind, CreatorException):
        return kind("it failed", {"reason": "CREATOR_ERROR", "exit_code": "3"})
    if issubclass(kind, TaskCancelledException | WaitTimeoutException):
        return kind("it failed", TASK)
    return kind("it failed")


@pytest.mark.parametrize("kind", PUBLIC)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_public_exception_is_the_same_after_pickling(kind: type[ContentGenerationError], protocol: int) -> None:
    error = made(kind)
    copied = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own bytes
    assert type(copied) is kind
    assert (str(copied), copied.args, vars(copied)) == (str(error), error.args, vars(error))
