"""Commands for a shell that show a task, and that submit it again."""

from __future__ import annotations

import json
import shlex
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from contentgen import Task

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


def _options(task: Task) -> Sequence[tuple[str, str]]:
    """Returns flags of `contentgen task submit` with their values."""
    options = [
        ("--keywords", task["keywords"]),
        ("--category", task["category"]),
        ("--requirements", task["requirements"]),
        ("--tone", task["tone"]),
        ("--priority", str(task["priority"])),
        ("--max-retries", str(task["max_retries"])),
        ("--timeout", _length(task["timeout"])),
        ("--initial-backoff", _length(task["initial_backoff"])),
        ("--backoff-multiplier", f"{task['backoff_multiplier']:g}" if task["backoff_multiplier"] else None),
        ("--max-backoff", _length(task["max_backoff"])),
        ("--schedule-time", _future(task["schedule_time"])),
        ("--expire-time", _future(task["expire_time"])),
        *(("--label", f"{key}={value}") for key, value in sorted(task["labels"].items())),
    ]
    flags = ["--no-auto-approve"] * (not task["auto_approve"]) + ["--no-auto-retry"] * (not task["auto_retry"])
    return [*((flag, value) for flag, value in options if value), *((flag, "") for flag in flags)]


def _request(task: Task) -> dict[str, Any]:
    """Returns a SubmitTaskRequest as JSON."""
    request = {
        "account_id": task["account_id"],
        "topic": task["topic"],
        "keywords": task["keywords"],
        "category": task["category"],
        "requirements": task["requirements"],
        "tone": task["tone"],
        "priority": task["priority"],
        "auto_approve": task["auto_approve"],
        "max_retries": task["max_retries"],
        "auto_retry": task["auto_retry"],
        "timeout": _length(task["timeout"]),
        "labels": task["labels"] or None,
        "initial_backoff": _length(task["initial_backoff"]),
        "backoff_multiplier": task["backoff_multiplier"],
        "max_backoff": _length(task["max_backoff"]),
        "schedule_time": _future(task["schedule_time"]),
        "expire_time": _future(task["expire_time"]),
    }
    return {name: value for name, value in request.items() if value is not None and value != ""}


def _length(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def _future(iso: str | None) -> str | None:
    """A time that is still to come; what has passed says nothing any more."""
    return iso if iso and datetime.fromisoformat(iso) > datetime.now(UTC) else None
