"""Commands for a shell that show a task, and that submit it again."""

from __future__ import annotations

import json
import shlex
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from contentgen import Task
from contentgen.submit_fields import FIELDS, Field, Kind

_ESCAPES = {"\n": r"\n", "\t": r"\t", "\r": r"\r", "\\": r"\\", "'": r"\'"}
_BYTE, _PLANE = 0x80, 0xFFFF


def quoted(word: str) -> str:
    """A word of a command for bash or zsh, safe to be pasted into a terminal.

    Control and format characters are escaped: a terminal acts on them before the shell reads the quotes.
    """
    if not any(unicodedata.category(char) in {"Cc", "Cf"} for char in word):
        return shlex.quote(word)
    return f"$'{''.join(map(_escaped, word))}'"


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if unicodedata.category(char) not in {"Cc", "Cf"}:
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < _BYTE else f"\\u{code:04x}" if code <= _PLANE else f"\\U{code:08x}"


class Commands:
    """Makes commands for the schedulers at `target`. The token is in the shell's environment, and in no command."""

    def __init__(self, target: str, *, tls: bool) -> None:
        self._contentgen = ["contentgen", "--scheduler", target, *(["--tls-ca", "ca.pem"] if tls else [])]
        address = target.rpartition("/")[2].removeprefix("ipv4:").partition(",")[0]
        self._grpcurl = ["grpcurl", *(["-cacert", "ca.pem"] if tls else ["-plaintext"])]
        self._address = address

    def show(self, task: Task) -> str:
        return self._command("task", "status", task["task_id"])

    def logs(self, task: Task) -> str:
        return self._command("task", "logs", task["task_id"])

    def submit(self, task: Task) -> str:
        words = ["task", "submit", "--account", str(task["account_id"])]
        for flag, value in _options(task):
            words += [flag, value] if value else [flag]
        return self._command(*words, "--", task["topic"])

    def grpcurl_show(self, task: Task) -> str:
        return self._call("GetTask", {"task_id": task["task_id"]})

    def grpcurl_submit(self, task: Task) -> str:
        return self._call("SubmitTask", _request(task))

    def _command(self, *words: str) -> str:
        return " ".join(map(quoted, [*self._contentgen, *words]))

    def _call(self, method: str, request: dict[str, Any]) -> str:
        body = quoted(json.dumps(request, ensure_ascii=False))
        header = '-H "authorization: Bearer $CONTENTGEN_TOKEN"'
        options = " ".join(map(quoted, self._grpcurl))
        return f"{options} {header} -d {body} {quoted(self._address)} contentgen.v1.TaskService/{method}"


_LEFT_OUT = frozenset({"request_id", "unique_key", "unique_for", "creator_options"})
"""What another submit has of its own, or a task does not tell."""
_APART = frozenset({"account_id", "topic"})
"""What `submit` writes in its own way."""


def _options(task: Task) -> Iterator[tuple[str, str]]:
    """Yields flags of `contentgen task submit` with their values."""
    for field, value in _given(task):
        if field.name in _APART:
            continue
        name = field.name.replace("_", "-")
        if field.kind is Kind.PAIRS:
            yield from ((field.flags[0], f"{key}={text}") for key, text in sorted(value.items()))
        elif field.kind is not Kind.YES_NO:
            yield f"--{name}", f"{value:g}" if field.kind is Kind.NUMBER else str(value)
        elif not value:
            yield f"--no-{name}", ""


def _request(task: Task) -> dict[str, Any]:
    """Returns a SubmitTaskRequest as JSON."""
    return {field.name: value for field, value in _given(task)}


def _given(task: Task) -> Iterator[tuple[Field, Any]]:
    """Yields the fields of a submit like that of the task, with their values as JSON has them."""
    values: Mapping[str, Any] = task
    for field in FIELDS:
        if field.name in _LEFT_OUT:
            continue
        write, value = _WRITERS.get(field.kind), values[field.name]
        if write:
            value = write(value)
        if value not in (None, "", {}):
            yield field, value


def _length(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def _future(iso: str | None) -> str | None:
    """A time that is still to come; what has passed says nothing any more."""
    return iso if iso and datetime.fromisoformat(iso) > datetime.now(UTC) else None


_WRITERS: Mapping[Kind, Callable[[Any], Any]] = {Kind.LENGTH: _length, Kind.TIME: _future}
