"""Rows of a file as submits: JSON Lines, or CSV with a head line. Layer: inside cli.

A row has the fields of a submit by their names; what it leaves out is as the options of the command say.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from contentgen.cli import values
from contentgen.client.submits import set_field
from contentgen.submit_fields import BY_NAME, NAMES, Kind
from contentgen.v1 import task_service_pb2 as pb

_TRUE, _FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})


@dataclass(frozen=True, slots=True)
class Row:
    """A row that can be submitted."""

    line: int
    request: pb.SubmitTaskRequest


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that can't be submitted, and why."""

    line: int
    why: str


def rows(path: str, defaults: pb.SubmitTaskRequest, run: str) -> Iterator[Row | BadRow]:
    """Each row of a file in its order; `-`: of standard input, as JSON Lines.

    A row without a `request_id` gets one that follows from its own words and `run`: the same row again makes no second
    task. Of equal rows each has its own. Raises BadParameter if the file can't be read.
    """
    occurrences: Counter[str] = Counter()
    try:
        for line, fields in _csv(path) if path.lower().endswith(".csv") else _json_lines(path):
            if isinstance(fields, str):
                yield BadRow(line, fields)
                continue
            words = json.dumps(fields, sort_keys=True)
            occurrences[words] += 1
            yield _row(line, fields, defaults, f"{run}\n{occurrences[words]}\n{words}")
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{path} should be UTF-8") from None
    except (OSError, csv.Error) as error:
        raise typer.BadParameter(f"{path} can't be read: {error}") from None


def _row(line: int, fields: Mapping[str, Any], defaults: pb.SubmitTaskRequest, words: str) -> Row | BadRow:
    request = pb.SubmitTaskRequest()
    request.CopyFrom(defaults)
    try:
        for name, value in fields.items():
            _set(request, name, value)
    except typer.BadParameter as error:
        return BadRow(line, error.message)
    except (TypeError, ValueError, OverflowError) as error:
        return BadRow(line, f"{name}: {error}")
    if not request.topic.strip():
        return BadRow(line, "topic is missing")
    if not request.account_id:
        return BadRow(line, "account is missing: give it in the row, or --account")
    request.request_id = request.request_id or f"row-{hashlib.sha256(words.encode()).hexdigest()[:32]}"
    return Row(line, request)


def _set(request: pb.SubmitTaskRequest, column: str, value: Any) -> None:
    name = NAMES.get(column)
    if name is None:
        raise ValueError("no such field; there are: " + ", ".join(BY_NAME))
    set_field(request, name, _READERS[BY_NAME[name].kind](value))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("should be a text")
    return value


def _words(value: Any) -> str:
    return ",".join(map(_text, value)) if isinstance(value, list) else _text(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"-?\d{1,18}", str(value)):
        raise ValueError(f"{value!r} should be a whole number")
    return int(value)


def _boolean(value: Any) -> bool:
    text = str(value).lower()
    if text not in _TRUE | _FALSE:
        raise ValueError("should be true or false")
    return text in _TRUE


def _length(value: Any) -> float:
    return values.seconds(str(value))


def _time(value: Any) -> datetime:
    return values.time(_text(value))


def _pairs(value: Any) -> dict[str, str]:
    """Reads an object, or a text such as `key=value;key=value`."""
    if isinstance(value, dict):
        return {key: _text(item) for key, item in value.items()}
    return values.pairs(pair.strip() for pair in _text(value).split(";") if pair.strip())


_READERS: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.ID: _whole,
    Kind.TEXT: _text,
    Kind.WORDS: _words,
    Kind.WHOLE: _whole,
    Kind.NUMBER: float,
    Kind.YES_NO: _boolean,
    Kind.LENGTH: _length,
    Kind.TIME: _time,
    Kind.PAIRS: _pairs,
}


def _json_lines(path: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Rows, or what is wrong with them, by the number of their line."""
    lines = (sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()).split(b"\n")
    for number, line in enumerate(lines, 1):
        text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        if not text:
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:  # RecursionError: it is nested a thousand deep
            yield number, f"is no JSON: {error}"
        else:
            yield number, row if isinstance(row, dict) else "should be a JSON object"


def _csv(path: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Reads the rows of a CSV file, as `_json_lines` does; an empty cell is left out."""
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            if None in row:
                yield reader.line_num, "has more cells than the head line"
            else:
                yield reader.line_num, {name: cell for name, cell in row.items() if cell}
