"""The journals of a campaign: files of one JSON object a line, that processes append to while they are being killed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from lab.chaos.evidence import CREATOR_JOURNAL, JOURNAL, Journals, Record, Run

_KINDS: dict[str, type[Record]] = {
    field: get_args(hint)[0] for field, hint in get_type_hints(Journals).items() if field != "runs"
}


class Appender:
    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def append(self, record: Record, **more: object) -> None:
        """Writes one line with the record's fields, and with `more`, which readers pass over; in one write."""
        line = json.dumps({"event": type(record).__name__, **asdict(record), **more})
        os.write(self._file, line.encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)


def read_journals(folder: Path) -> Journals:
    """Returns all journals of a campaign's folder; one never begun is empty. Raises ValueError, naming the line."""
    lines = list(_lines(folder / JOURNAL))
    records = {
        field: [_record(kind, line) for line in lines if line["event"] == kind.__name__]
        for field, kind in _KINDS.items()
    }
    return Journals(runs=_runs(_lines(folder / CREATOR_JOURNAL)), **records)  # type: ignore[arg-type] # `_KINDS` says so


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yields its objects; what comes after the last newline is still being written, or will never be."""
    if not path.exists():
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}: {line[:200]!r}") from None


def _record(kind: type[Record], line: dict[str, Any]) -> Record:
    return kind(**{name: line[name] for name in kind.__dataclass_fields__ if name in line})


def _runs(lines: Iterator[dict[str, Any]]) -> list[Run]:
    runs: dict[str, Run] = {}
    for line in lines:
        event, name, last = line.pop("event"), line["run"], line["boottime"]
        if event == "start":
            runs[name] = Run(**line, last=last)
        elif event == "end":
            status, body, file = line["status"], line["body_sha256"], line["file_sha256"] or None
            runs[name] = replace(runs[name], last=last, status=status, body_sha256=body, file_sha256=file)
        else:
            runs[name] = replace(runs[name], last=last, printed=runs[name].printed or event == "printed")
    return list(runs.values())
