"""What requests must heed: every check names its field and what that should be. Part of `api`.

Lengths are in code points. Invalid UTF-8 and lone surrogates never get here: protobuf refuses them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from scheduler_svc.api.messages.times import datetime_of, timedelta_of
from scheduler_svc.domain.errors import FieldViolation, InvalidArgument, NotFound
from scheduler_svc.domain.ids import parse_task_id
from scheduler_svc.domain.lifecycle import Status

MAX_INT32 = (1 << 31) - 1
MAX_ITEMS = 1_000
MAX_NAME = 200
MAX_LABELS = 32
MAX_LABEL_KEY = 63
MAX_LABEL_VALUE = 255
_SHOWN_KEY = 40


class Violations:
    """Collects what is wrong with a request; used as `with`, it raises InvalidArgument at the end of the block.

    `path` leads to the message whose fields are checked: empty, or such as `requests[3].`.
    """

    def __init__(self) -> None:
        self.path = ""
        self._found: list[FieldViolation] = []

    def __enter__(self) -> Violations:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._found and error is None:
            raise InvalidArgument(self._found)

    def add(self, field: str, description: str) -> None:
        """`description` completes "the field …"."""
        self._found.append(FieldViolation(self.path + field, description))

    def text(self, field: str, value: str, most: int, *, required: bool = False) -> None:
        """At most `most` characters and no NUL; where it is required, not only whitespace."""
        if len(value) > most:
            self.add(field, f"must have at most {most:,} characters, has {len(value):,}")
        if "\0" in value:
            self.add(field, "must not contain NUL")
        elif required and not value.strip():
            self.add(field, f"is required: 1 to {most:,} characters, not only whitespace")

    def required(self, field: str, value: str) -> None:
        """A text that is not empty."""
        if not value:
            self.add(field, "is required")

    def number(self, field: str, value: float, least: int, most: int) -> None:
        """A number in a closed range; NaN is in none."""
        if not least <= value <= most:
            self.add(field, f"must be {least:,} to {most:,}, is {value:,}")

    def id(self, field: str, value: int) -> None:
        """An id that is required."""
        if value < 1:
            self.add(field, f"is required: 1 or more, is {value}")

    def account_filter(self, field: str, value: int) -> None:
        """An account's id, or 0 for all."""
        if value < 0:
            self.add(field, f"must be an account's id, or 0 for all, is {value}")

    def duration(self, field: str, message: Duration, least: timedelta, most: timedelta) -> timedelta:
        """The length, where it is in a closed range; `least` where it is not."""
        length = timedelta_of(message)
        if length is not None and least <= length <= most:
            return length
        self.add(field, f"must be a duration of {_seconds(least)} s to {_seconds(most)} s")
        return least

    def time(self, field: str, message: Timestamp) -> datetime | None:
        """The time, where the message is in protobuf's range."""
        time = datetime_of(message)
        if time is None:
            self.add(field, "must be a time of the years 1 to 9999, with nanos from 0 to 999,999,999")
        return time

    def labels(self, field: str, labels: Mapping[str, str]) -> dict[str, str]:
        """Labels to store or to look for."""
        if not labels or not self.count(field, len(labels), 0, MAX_LABELS):
            return {}
        for key, value in labels.items():
            path = keyed(field, key)
            self.text(path, key, MAX_LABEL_KEY, required=True)
            self.text(path, value, MAX_LABEL_VALUE)
        return dict(labels)

    def count(self, field: str, items: int, least: int, most: int) -> bool:
        """Whether there are enough and not too many; else the items themselves are not looked at."""
        if least <= items <= most:
            return True
        self.add(field, f"must have {least:,} to {most:,} items, has {items:,}")
        return False

    def statuses(
        self, field: str, values: Sequence[int], *, among: frozenset[Status] = frozenset(Status)
    ) -> frozenset[Status]:
        """Known states, and of those only some; doubles are one."""
        found: set[Status] = set()
        if not self.count(field, len(values), 0, MAX_ITEMS):
            return frozenset()
        for i, value in enumerate(values):
            try:
                found.add(Status(value))
            except ValueError:
                self.add(f"{field}[{i}]", f"must be a known TaskStatus, is {value}")
            else:
                if value == Status.NONE:
                    self.add(f"{field}[{i}]", "must be a TaskStatus other than TASK_STATUS_UNSPECIFIED")
                elif value not in among:
                    wanted = " or ".join(status.label for status in sorted(among))
                    self.add(f"{field}[{i}]", f"must be {wanted}, is {Status(value).label}")
        return frozenset(found)


def _seconds(length: timedelta) -> str:
    return f"{length.total_seconds():,.3f}".rstrip("0").rstrip(".")


def keyed(field: str, key: str) -> str:
    """The path of a map's entry; a key that is too long is cut."""
    return f'{field}["{key[:_SHOWN_KEY]}{"…" if len(key) > _SHOWN_KEY else ""}"]'.replace("\0", "\\0")


def task_key(task_id: str) -> int:
    """The key behind a request's `task_id`. Raises InvalidArgument where it is empty, NotFound where it can't exist."""
    with Violations() as bad:
        bad.required("task_id", task_id)
    key = parse_task_id(task_id)
    if key is None:
        raise NotFound("task", task_id)
    return key
