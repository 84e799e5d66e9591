"""The outcome of a run of the CLI: an article, an error of the task, or a deferral.

Pure: bytes and exit statuses in, values out. An error here is data on the task (`Task.error`), never an exception.
"""

from __future__ import annotations

import errno
import json
import math
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple

MAX_IMAGES = 1_000
MAX_TITLE = 255
MAX_MODEL = 200
MAX_USAGE = 32
MAX_USAGE_NAME = 50
MAX_IMAGE_BYTES = 512 * 1024
MAX_MESSAGE = 2_000
MAX_STDERR = 4_000
MAX_OUTPUT = 8_192  # characters of stdout, and of stderr, that a run's output keeps

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_OBJECT = re.compile(r'\{\s*(?:["}]|\Z)')
_CANNOT_RUN = frozenset({errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ENOEXEC, errno.ELOOP, errno.EISDIR})


class Reason(StrEnum):
    """The values of `Task.error.reason` that a worker reports.

    RESULT_TOO_LARGE and INVALID_CREATOR_OPTIONS are not retried automatically.
    """

    CREATOR_ERROR = "CREATOR_ERROR"
    CREATOR_TIMEOUT = "CREATOR_TIMEOUT"
    CREATOR_INVALID_RESPONSE = "CREATOR_INVALID_RESPONSE"
    CREATOR_CLI_NOT_FOUND = "CREATOR_CLI_NOT_FOUND"
    RESULT_TOO_LARGE = "RESULT_TOO_LARGE"
    INVALID_CREATOR_OPTIONS = "INVALID_CREATOR_OPTIONS"
    TASK_TIMEOUT = "TASK_TIMEOUT"


class LeftOutReason(StrEnum):
    """Why what a result names does not become an asset; the values of `LeftOutAsset.reason`."""

    OUTSIDE_FOLDER = "OUTSIDE_FOLDER"
    SYMLINK = "SYMLINK"
    NOT_FOUND = "NOT_FOUND"
    TOO_LARGE = "TOO_LARGE"
    TOO_MANY = "TOO_MANY"
    HOST_NOT_ALLOWED = "HOST_NOT_ALLOWED"
    FETCH_FAILED = "FETCH_FAILED"
    ACCOUNT_FULL = "ACCOUNT_FULL"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"


class TakenAsset(NamedTuple):
    """A file that a result names, kept in the worker's folder. `source` is how the CLI named it."""

    name: str
    sha256: str
    size: int
    source: str


class LeftOut(NamedTuple):
    """What a result names and is not taken."""

    source: str
    reason: LeftOutReason


@dataclass(frozen=True, slots=True)
class Article:
    """A finished article. Its strings have no NUL and no lone surrogate, so that UTF-8 and PostgreSQL accept them."""

    content: str  # Markdown, never blank
    html: str = ""
    images: tuple[str, ...] = ()  # names or URLs, cover first
    quality_score: float | None = None  # as the CLI gave it, on a scale of its own; finite
    title: str = ""  # empty if the CLI gave none
    usage: Mapping[str, float] = field(default_factory=dict)
    """What the run used, as the CLI says, such as `input_tokens`; finite."""
    model: str = ""
    assets: tuple[TakenAsset, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of body and HTML together."""
        return _bytes(self.content) + _bytes(self.html)


@dataclass(frozen=True, slots=True)
class Failed:
    """The run failed. `message` is human-readable; `details` may have `exit_code`, `signal` (numbers) and `stderr`."""

    reason: Reason
    message: str
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Deferred:
    """The CLI asked to come back later, which is no failure. `message` is human-readable, and may be empty."""

    pause: float  # seconds
    message: str = ""


Outcome = Article | Failed | Deferred


@dataclass(frozen=True, slots=True)
class RunOutput:
    """The end of what the CLI printed in one run; clean, and bounded by MAX_OUTPUT."""

    stdout: str = ""
    stderr: str = ""
    stdout_truncated: bool = False  # whether the beginning is missing
    stderr_truncated: bool = False


@dataclass(frozen=True, slots=True)
class Exit:
    """How a CLI ended: `code` if it exited, else the number of the `signal` that killed it."""

    code: int | None
    signal: int | None
    ended_by: Literal["itself", "deadline", "request"] = "itself"
    """By itself, because the deadline of its run had passed, or because the worker asked to stop it or its run."""


def clean(text: str, limit: int) -> str:
    """Removes ANSI codes and control characters, and keeps the first `limit` code points."""
    return printable(text).strip()[:limit]


def printable(text: str) -> str:
    """Removes ANSI codes and control characters; tabs and line ends stay."""
    return _CONTROL.sub("", _ANSI.sub("", storable(text)))


def clean_tail(text: str, limit: int) -> str:
    """Cleans as `clean` does, but keeps the last `limit` code points."""
    return clean(text, len(text))[-limit:]


def storable(text: str) -> str:
    """Removes NUL, which PostgreSQL cannot store, and replaces lone surrogates, which UTF-8 cannot, by U+FFFD.

    NUL is removed rather than refused, because a refusal would waste minutes of paid generation.
    """
    return text.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def failed(reason: Reason, message: str, stderr: str = "", **details: str) -> Failed:
    """Returns a failure with bounded texts; leaves an empty `stderr` out."""
    tail = clean_tail(stderr, MAX_STDERR)
    return Failed(reason, clean(message, MAX_MESSAGE), {**details, **({"stderr": tail} if tail else {})})


def of_exit(ended: Exit, stderr: str, reason: str = "") -> Failed | None:
    """Returns the failure that an exit means; None if the output has to decide.

    `reason` is why the CLI failed, if that is not the last line of `stderr`.
    """
    if ended.signal is not None:
        name = next((known.name for known in signal.Signals if known == ended.signal), f"signal {ended.signal}")
        message = f"the CLI was ended by {name}"
        return failed(Reason.CREATOR_ERROR, message, stderr, signal=str(ended.signal))
    if ended.code != 0:
        cause = reason or (clean_tail(stderr, MAX_STDERR).splitlines() or [""])[-1]
        message = f"the CLI exited with status {ended.code}" + (f": {cause[:200]}" if cause else "")
        return failed(Reason.CREATOR_ERROR, message, stderr, exit_code=str(ended.code))
    return None


def of_spawn_error(error: OSError) -> Failed:
    reason = Reason.CREATOR_CLI_NOT_FOUND if error.errno in _CANNOT_RUN else Reason.CREATOR_ERROR
    return failed(reason, f"the CLI could not be started: {error}")


def of_time_out(command: str, limit: float, stderr: str = "") -> Failed:
    return failed(Reason.CREATOR_TIMEOUT, f"`{command}` did not end within {limit:g} s", stderr)


def of_output(stdout: bytes, *, truncated: bool, max_result: int, stderr: str = "") -> Article | Failed:
    """Returns the article in the last JSON document of `stdout`, or why there is none.

    `truncated` says that the beginning of `stdout` is missing. `max_result` bounds body and HTML together, in bytes of
    UTF-8.
    """
    text = stdout.decode("utf-8", "replace")
    document = last_document(_from_first_document(text) if truncated else text, skip=is_progress)
    if truncated and (document is None or "content" not in document):
        return failed(Reason.RESULT_TOO_LARGE, f"the CLI printed more than {len(stdout)} bytes", stderr)
    if document is None:
        begin = clean(text[:400], 100)
        excerpt = f"which begins {begin!r}" if begin else "which is empty"
        return failed(Reason.CREATOR_INVALID_RESPONSE, f"no JSON document in the output, {excerpt}", stderr)
    return of_document(document, max_result, stderr)


def of_document(document: Mapping[str, Any], max_result: int, stderr: str = "") -> Article | Failed:
    """Returns the article in a document with the key `content`, and perhaps `htmlContent`, `images`, `qualityScore`,
    `title`, `usage` and `model`.
    """
    try:
        return _bounded(_result(document), max_result)
    except ValueError as error:
        return failed(Reason.CREATOR_INVALID_RESPONSE, f"the result document is not valid: {error}", stderr)


def documents(text: str) -> Iterator[dict[str, Any] | None]:
    """Yields the JSON objects in `text`, in order, and None at the end if the last one is cut off.

    An object counts if it begins a line or follows another object; anything may stand in between. Takes linear time,
    whatever the text is.
    """
    decoder, text = json.JSONDecoder(), _UncountedText(text)
    match = _OBJECT.search(text)
    while match:
        try:
            document, end = decoder.raw_decode(text, match.start())
        except json.JSONDecodeError as error:
            if _is_cut_off(text, error):
                yield None
                return
            end = text.find("\n", _last_read(text, error.pos))
            if end < 0:
                return
        except (ValueError, RecursionError):  # thousands of digits, or nested a thousand deep
            yield None
            return
        else:
            yield document
        match = _OBJECT.search(text, end)


def last_document(text: str, *, skip: Callable[[Mapping[str, Any]], bool] = lambda _: False) -> dict[str, Any] | None:
    """Returns the last of `documents` that is not skipped; None if there is none, or the last one is cut off."""
    last = None
    for document in documents(text):
        if document is None or not skip(document):
            last = document
    return last


def is_progress(document: Mapping[str, Any]) -> bool:
    """Returns whether a JSON document is a progress line rather than a result."""
    return "progress" in document and "content" not in document


class _UncountedText(str):
    """Text that does not count its lines: each JSONDecodeError would count all lines before its position."""

    __slots__ = ()

    def count(self, *_: object) -> int:
        return 0

    def rfind(self, *_: object) -> int:
        return 0


def _is_cut_off(text: str, error: json.JSONDecodeError) -> bool:
    return error.msg.startswith("Unterminated string") or not text[error.pos : error.pos + 1]


def _last_read(text: str, end: int) -> int:
    while text[end - 1].isspace():
        end -= 1
    return end


def _from_first_document(text: str) -> str:
    """Skips a document whose beginning is missing: an object nested in it must not count as a document."""
    begin = text.find("\n{")
    return text[begin:] if begin >= 0 else ""


def _result(document: Mapping[str, Any]) -> Article:
    content = _text(document, "content")
    if not content.strip():
        raise ValueError("content must be a string that is not blank")
    usage = document.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Article(
        content,
        _text(document, "htmlContent"),
        _images(document),
        _score(document),
        title=_line(document.get("title"), MAX_TITLE),
        usage=dict(_usage(usage)),
        model=_line(document.get("model") or usage.get("model"), MAX_MODEL),
    )


def _line(value: object, limit: int) -> str:
    """Returns a text on one line; empty if it is none. A result is not refused for the sake of these."""
    return " ".join(clean(value, 10 * limit).split())[:limit] if isinstance(value, str) else ""


def _usage(usage: Mapping[object, object]) -> Iterator[tuple[str, float]]:
    """Yields the numbers by their names, `inputTokens` as `input_tokens`; leaves out what is neither."""
    for name, value in list(usage.items())[:MAX_USAGE]:
        if isinstance(value, bool) or not isinstance(value, int | float) or not is_finite(value):
            continue
        if isinstance(name, str) and 0 < len(name) <= MAX_USAGE_NAME and name.isprintable():
            yield _CAMEL.sub(r"_", storable(name)).lower(), float(value)


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{key} must be a string")
    return storable(value)


def _images(document: Mapping[str, Any]) -> tuple[str, ...]:
    images = document.get("images")
    if images is None:
        return ()
    if not isinstance(images, list):
        raise ValueError("images must be a list")
    return tuple(_image(entry) for entry in images)


def _image(entry: object) -> str:
    url = entry.get("url") if isinstance(entry, dict) else entry
    if not isinstance(url, str) or not storable(url):
        raise ValueError('each of images must be a string or {"url": string}, not empty')
    return storable(url)


def _score(document: Mapping[str, Any]) -> float | None:
    score = document.get("qualityScore")
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, int | float) or not is_finite(score):
        raise ValueError("qualityScore must be a finite number")
    return float(score)


def is_finite(number: float) -> bool:
    """Returns whether a double can hold a number of a JSON document."""
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer above what a double holds
        return False


def _bounded(result: Article, max_result: int) -> Article | Failed:
    if result.size > max_result:
        return failed(Reason.RESULT_TOO_LARGE, f"body and HTML have {result.size} bytes; {max_result} are allowed")
    if len(result.images) > MAX_IMAGES:
        return failed(Reason.RESULT_TOO_LARGE, f"{len(result.images)} images; {MAX_IMAGES} are allowed")
    if sum(map(_bytes, result.images)) > MAX_IMAGE_BYTES:
        return failed(Reason.RESULT_TOO_LARGE, f"the images' names have more than {MAX_IMAGE_BYTES} bytes")
    return result


def _bytes(text: str) -> int:
    return len(text.encode())
