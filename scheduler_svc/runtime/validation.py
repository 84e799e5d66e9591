"""Checks of requests; every violation names its field and what that must be.

Lengths are in code points. Protobuf refuses invalid UTF-8 and lone surrogates before. Timestamps and durations become
Python's, and back, within protobuf's ranges; `message_of` makes a message of an object whose attributes have the names
of its fields. Briefs, which several subjects read and send, are here too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from functools import cache
from operator import attrgetter
from types import TracebackType
from typing import Any, Self, TypeVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.config import Settings
from scheduler_svc.domain.errors import FieldViolation, InvalidArgument, existing
from scheduler_svc.domain.ids import parse_task_id
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import MAX_LENGTHS, MAX_PROMPT_BYTES, TEXTS, Brief

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400
_BILLION = 1_000_000_000
_FIRST_SECOND = -62_135_596_800  # 0001-01-01T00:00:00Z
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z
_MAX_SECONDS = 315_576_000_000
MAX_DURATION = timedelta(seconds=_MAX_SECONDS)
"""10,000 years: the longest Duration."""


def timestamp(time: datetime | None) -> Timestamp | None:
    """Returns an aware datetime as a message; None stays unset."""
    if time is None:
        return None
    message = Timestamp()
    set_timestamp(message, time)
    return message


def set_timestamp(message: Timestamp, time: datetime) -> None:
    since = time - _EPOCH
    message.seconds, message.nanos = since.days * _DAY + since.seconds, since.microseconds * 1000


def duration(length: timedelta | None) -> Duration | None:
    """Returns a timedelta of 0 or more as a message; None stays unset."""
    if length is None:
        return None
    message = Duration()
    set_duration(message, length)
    return message


def set_duration(message: Duration, length: timedelta) -> None:
    message.seconds, message.nanos = length.days * _DAY + length.seconds, length.microseconds * 1000


def set_milliseconds(message: Duration, milliseconds: int) -> None:
    seconds, rest = divmod(milliseconds, 1000)
    message.seconds, message.nanos = seconds, rest * 1_000_000


M = TypeVar("M", bound=Message)


def message_of(kind: type[M], source: object, **others: Any) -> M:
    """Returns a message whose fields are `source`'s attributes with their names, but for `others`; None stays unset."""
    for name in _field_names(kind.DESCRIPTOR):
        if name not in others:
            value = getattr(source, name)
            others[name] = timestamp(value) if isinstance(value, datetime) else value
    return kind(**others)


@cache
def _field_names(message: Descriptor) -> tuple[str, ...]:
    return tuple(message.fields_by_name)


def datetime_of(message: Timestamp) -> datetime | None:
    """Returns the time in UTC, cut to microseconds; None if the message is out of protobuf's range."""
    if not (_FIRST_SECOND <= message.seconds <= _LAST_SECOND and 0 <= message.nanos < _BILLION):
        return None
    return _EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)


def timedelta_of(message: Duration) -> timedelta | None:
    """Returns the length, cut to microseconds; None if it is negative or out of protobuf's range."""
    if not (0 <= message.seconds <= _MAX_SECONDS and 0 <= message.nanos < _BILLION):
        return None
    return timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)


MAX_INT32 = (1 << 31) - 1
MAX_INT64 = (1 << 63) - 1
MAX_ITEMS = 1_000
MAX_NAME = 200
MAX_MASK_PATHS = 100
MAX_LABELS = 32
MAX_LABEL_KEY = 63
MAX_LABEL_VALUE = 255
_MAX_SHOWN_KEY = 40
E = TypeVar("E", bound=IntEnum)
_SHA256 = re.compile("[0-9a-f]{64}")


class Violations:
    """Collects the violations of a request. As a context manager it raises InvalidArgument at the end of the block.

    `path` is the prefix of the fields that are checked: empty, or such as `requests[3].`.
    """

    def __init__(self) -> None:
        self.path = ""
        self._found: list[FieldViolation] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._found and error is None:
            raise InvalidArgument(self._found)

    def add(self, field: str, description: str) -> None:
        """`description` completes the sentence "the field …"."""
        self._found.append(FieldViolation(self.path + field, description))

    def text(self, field: str, value: str, limit: int, *, required: bool = False) -> None:
        """Checks a text: at most `limit` characters and no NUL; a required one must not be only whitespace."""
        if len(value) > limit:
            self.add(field, f"must have at most {limit:,} characters, has {len(value):,}")
        if "\0" in value:
            self.add(field, "must not contain NUL")
        elif required and not value.strip():
            self.add(field, f"is required: 1 to {limit:,} characters, not only whitespace")

    def required(self, field: str, value: str) -> None:
        if not value:
            self.add(field, "is required")

    def number(self, field: str, value: float, minimum: float, maximum: float) -> None:
        """Checks that a number is in a closed range; NaN is in no range."""
        if not minimum <= value <= maximum:
            least = f"{minimum:,}" if isinstance(minimum, int) else f"{minimum:f}"
            self.add(field, f"must be {least} to {maximum:,}, is {value:,}")

    def id(self, field: str, value: int) -> None:
        if value < 1:
            self.add(field, f"is required: 1 or more, is {value}")

    def account_filter(self, field: str, value: int) -> int:
        if value < 0:
            self.add(field, f"must be an account's id, or 0 for all, is {value}")
        return value

    def duration(self, field: str, message: Duration, minimum: timedelta, maximum: timedelta) -> timedelta:
        """Returns the length, or `minimum` if it is not in the closed range."""
        length = timedelta_of(message)
        if length is not None and minimum <= length <= maximum:
            return length
        self.add(field, f"must be a duration of {_seconds(minimum)} s to {_seconds(maximum)} s")
        return minimum

    def time(self, field: str, message: Timestamp) -> datetime | None:
        """Returns the time; None if the message is out of protobuf's range."""
        time = datetime_of(message)
        if time is None:
            self.add(field, "must be a time in the years 1 to 9999, with nanos from 0 to 999,999,999")
        return time

    def optional_time(self, field: str, message: Message) -> datetime | None:
        """Returns the time of that field of a message, which its path ends with; None also if it is unset."""
        name = field.rpartition(".")[2]
        return self.time(field, getattr(message, name)) if message.HasField(name) else None

    def sha256(self, field: str, text: str) -> None:
        if not is_sha256(text):
            self.add(field, "must be 64 digits of lower-case hex")

    def labels(self, field: str, labels: Mapping[str, str]) -> dict[str, str]:
        if not labels or not self.count(field, len(labels), 0, MAX_LABELS):
            return {}
        for key, value in labels.items():
            path = entry_path(field, key)
            self.text(path, key, MAX_LABEL_KEY, required=True)
            self.text(path, value, MAX_LABEL_VALUE)
        return dict(labels)

    def count(self, field: str, items: int, minimum: int, maximum: int) -> bool:
        """Returns whether the number of items is in a closed range; if not, do not check the items."""
        if minimum <= items <= maximum:
            return True
        self.add(field, f"must have {minimum:,} to {maximum:,} items, has {items:,}")
        return False

    def mask(self, field: str, mask: FieldMask, known: Sequence[str]) -> frozenset[str]:
        """Returns those of the `known` fields that an update mask names; it must name one, and no others."""
        if not mask.paths:
            self.add(field, f"is required: one or more of {', '.join(known)}")
        for i, path in enumerate(mask.paths[:MAX_MASK_PATHS]):
            if path not in known:
                self.add(f"{field}.paths[{i}]", f"must be one of {', '.join(known)}, is {path[:MAX_NAME]!r}")
        self.count(f"{field}.paths", len(mask.paths), 0, MAX_MASK_PATHS)
        return frozenset(mask.paths).intersection(known)

    def status(self, field: str, value: int, known: type[E]) -> E | None:
        """Returns one of the `known` values; None for 0, which is unset."""
        try:
            return known(value) if value else None
        except ValueError:
            self.add(field, f"must be a known {known.__name__}, is {value}")
            return None

    def statuses(
        self, field: str, values: Sequence[int], *, among: frozenset[Status] = frozenset(Status)
    ) -> frozenset[Status]:
        statuses: set[Status] = set()
        if not self.count(field, len(values), 0, MAX_ITEMS):
            return frozenset()
        for i, value in enumerate(values):
            try:
                statuses.add(Status(value))
            except ValueError:
                self.add(f"{field}[{i}]", f"must be a known TaskStatus, is {value}")
            else:
                if value == Status.NONE:
                    self.add(f"{field}[{i}]", "must be a TaskStatus other than TASK_STATUS_UNSPECIFIED")
                elif value not in among:
                    labels = " or ".join(status.label for status in sorted(among))
                    self.add(f"{field}[{i}]", f"must be {labels}, is {Status(value).label}")
        return frozenset(statuses)


def is_sha256(text: str) -> bool:
    return _SHA256.fullmatch(text) is not None


def _seconds(length: timedelta) -> str:
    return f"{length.total_seconds():,.3f}".rstrip("0").rstrip(".")


def entry_path(field: str, key: str) -> str:
    """Returns the path of a map's entry, with a long key cut."""
    return f'{field}["{key[:_MAX_SHOWN_KEY]}{"…" if len(key) > _MAX_SHOWN_KEY else ""}"]'.replace("\0", "\\0")


def checked_id(field: str, value: int) -> int:
    """Returns the id. Raises InvalidArgument if it is not 1 or more."""
    with Violations() as violations:
        violations.id(field, value)
    return value


def task_key(task_id: str) -> int:
    """Returns the key behind a request's `task_id`. Raises InvalidArgument if empty, NotFound if impossible."""
    with Violations() as violations:
        violations.required("task_id", task_id)
    return existing(parse_task_id(task_id), "task", task_id)


# A brief from and to messages: its texts by name, and the checks of a submit.


MAX_BYTES_OF_A_CHARACTER = 4
MAX_CREATOR_OPTIONS = 32
MAX_OPTION_KEY = 63
MAX_OPTION_VALUE = 1_000
LISTED_TEXTS = tuple(name for name in TEXTS if name != "requirements")
"""The texts of a task in a list."""
_ARGUMENTS = frozenset(name.replace("_", "-") for name in TEXTS if name != "category")
RESERVED_OPTIONS = _ARGUMENTS | {"type", "mode", "task-id", "json", "version", "help"}
"""Options that the worker sets itself, or that make the CLI do something else."""
_OPTION_KEY = re.compile(r"[a-z][a-z0-9-]*")
_CHECKS = [(name, limit, name == "topic") for name, limit in MAX_LENGTHS.items()]
_texts_of = attrgetter(*TEXTS)


class SubmitViolations(Violations):
    """Those of a submit, or of what becomes one, with the settings that it is held to."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings


def read_brief(request: pb.SubmitTaskRequest, bad: SubmitViolations) -> Brief:
    """Returns the brief of a submit; what is wrong with it is added to `bad`."""
    texts = _texts_of(request)
    for text, (name, limit, required) in zip(texts, _CHECKS, strict=True):
        bad.text(name, text, limit, required=required)
    brief = Brief.of(texts, _creator_options(request.creator_options, bad))
    characters = len(brief.topic) + len(brief.requirements)
    if characters * MAX_BYTES_OF_A_CHARACTER > MAX_PROMPT_BYTES and (held := brief.prompt_bytes) > MAX_PROMPT_BYTES:
        text = f"must have at most {MAX_PROMPT_BYTES:,} bytes of UTF-8 together with topic, has {held:,}"
        bad.add("requirements", text)
    return brief


def fill_brief(message: task_pb2.Task, brief: Brief, names: Sequence[str] = TEXTS) -> None:
    for name in names:
        if text := getattr(brief, name):
            setattr(message, name, text)


def _creator_options(options: Mapping[str, str], violations: Violations) -> dict[str, str]:
    field = "creator_options"
    if not options or not violations.count(field, len(options), 0, MAX_CREATOR_OPTIONS):
        return {}
    for key, value in options.items():
        path = entry_path(field, key)
        if len(key) > MAX_OPTION_KEY or not _OPTION_KEY.fullmatch(key):
            violations.add(path, f"must have a key of 1 to {MAX_OPTION_KEY} characters that matches [a-z][a-z0-9-]*")
        elif key in RESERVED_OPTIONS:
            violations.add(path, "must not be set: the worker sets this option itself")
        violations.text(path, value, MAX_OPTION_VALUE)
    return dict(options)
