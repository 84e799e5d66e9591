"""What a creator CLI prints, exits with, stores: whatever it is, a run has an outcome that can be reported."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from contentgen.service.settings import settings_of
from lab.fuzz.generating import spoilt
from lab.fuzz.inputs import documents
from tests.harness.creator_cli import AnsweringCli
from worker_svc.config import WorkerSettings
from worker_svc.creators import PROFILES, progress
from worker_svc.creators.base import MAX_PAUSE, Brief, CompletedCall, Job
from worker_svc.outcome import MAX_MESSAGE, MAX_STDERR, Deferred, Exit, Failed, Outcome, clean_tail
from worker_svc.output import LineSplitter
from worker_svc.session import wire
from worker_svc.session.leases import Lease

_SETTINGS = settings_of(WorkerSettings, {"creator_poll_interval": 1.0, "creator_max_result": 100_000})
_RESULT = ("content", "htmlContent", "images", "qualityScore", "progress")
_STATUS = ("status", "progress", "error", "percent", "step", "message")
_FAILURES = (Exit(1, None), Exit(75, None), Exit(255, None), Exit(None, 9), Exit(None, 77))
_STATES = ("pending", "running", "processing", "completed", "completed", "failed", "cancelled", "unknown", "")


@dataclass
class _Cli(AnsweringCli):
    """Answers anything. The profiles know no more of a CLI than this."""

    source: random.Random

    def answer(self, args: Sequence[str]) -> CompletedCall:
        stdout = printed(args[0], self.source, ended=len(self.commands) > 20)
        stderr = clean_tail(printed("create", self.source).decode("utf-8", "replace"), MAX_STDERR)
        ending = Exit(0, None) if self.source.random() < 0.8 else self.source.choice(_FAILURES)
        return CompletedCall(ending, stdout, stderr, truncated=False, timed_out=self.source.random() < 0.02)


class _Reporter:
    def processing(self) -> None:
        return

    def progress(self, percent: int | None, step: str, message: str) -> None:
        assert percent is None or 0 <= percent <= 100
        assert len(step) <= progress.MAX_STEP
        assert len(message) <= progress.MAX_PROGRESS_MESSAGE
        f"{step}{message}".encode()

    async def pause(self, seconds: float) -> None:
        assert seconds >= 0


def printed(command: str, source: random.Random, *, ended: bool = False) -> bytes:
    """Returns what a call prints: documents, progress lines and noise, as bytes."""
    lines = []
    for _ in range(source.choice((0, 1, 1, 2, 5))):
        document = documents.of(_STATUS if command == "status" else _RESULT, source)
        if command == "status" and source.random() < 0.9:
            document["status"] = source.choice(_STATES)
        noise = (documents.text(source), f"progress: {source.randrange(300)}% {documents.text(source)}", "\x1b[31m")
        lines += [source.choice(noise), documents.line(document, source)]
    if ended:
        lines.append('{"status": "failed"}')
    data = documents.encoded("\n".join(lines))
    return data if ended else spoilt(data, source)


def profile(name: str) -> Callable[[random.Random, Path], None]:
    def run(source: random.Random, folder: Path) -> None:
        if name == "llm-content-creator":
            _store(folder, source)
        job = Job("task-1", source.choice((1, 2)), Brief(documents.text(source)))
        outcome = asyncio.run(PROFILES[name](_SETTINGS).run(job, _Cli(folder, source), _Reporter()))
        check(outcome)

    return run


def check(outcome: Outcome) -> None:
    """Checks that it can be told: as a message, of bounded size, in UTF-8, without NUL."""
    lease = Lease("lease-1", 1, "task-1", 1.0, 0.0, 1.0)
    update = wire.decode(wire.encode(wire.ending_of(lease, outcome)))
    assert update.lease_id == "lease-1"
    if isinstance(outcome, Failed):
        assert len(outcome.message) <= MAX_MESSAGE
        assert all(len(detail) <= MAX_STDERR for detail in outcome.details.values())
    elif isinstance(outcome, Deferred):
        assert 0 <= outcome.pause <= MAX_PAUSE
        assert len(outcome.message) <= MAX_MESSAGE
    else:
        assert outcome.content.strip()
        assert not any("\0" in text for text in (outcome.content, outcome.html, *outcome.images))
        assert len((outcome.content + outcome.html).encode()) <= _SETTINGS.creator_max_result


def progress_line(source: random.Random, _: Path) -> None:
    """Feeds lines of output, in pieces: a progress, or nothing."""
    reporter = _Reporter()
    reports: list[progress.RunProgress] = []

    def on_line(line: str) -> None:
        if report := progress.of_line(line):
            reports.append(report)

    lines = LineSplitter(on_line)
    data = printed(source.choice(("create", "status")), source)
    while data:
        split = source.randint(1, len(data))
        lines.add(data[:split])
        data = data[split:]
    lines.end()
    for entry in reports:
        reporter.progress(*entry)


_SCHEMA = """
CREATE TABLE tasks (id, error_message, created_at);
CREATE TABLE results (task_id, result_type, content, created_at);
CREATE TABLE quality_checks (task_id, check_type, score, created_at);
"""


def _store(folder: Path, source: random.Random) -> None:
    """Makes the database that a run leaves, with anything in its columns; or another file; or none."""
    path = folder / "data" / "content-creator.db"
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if source.random() < 0.05:
        return
    with closing(sqlite3.connect(path)) as database:
        database.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_SCHEMA}")
        task_id = source.choice(("run-1", _stored(source)))
        if source.random() < 0.95:
            database.execute("INSERT INTO tasks VALUES (?, ?, 1)", (task_id, _stored(source)))
        for kind in ("article", "image"):
            content = documents.line(documents.value(source), source) if source.random() < 0.5 else _stored(source)
            database.execute("INSERT INTO results VALUES (?, ?, ?, 1)", (task_id, kind, _plain(content)))
        database.execute("INSERT INTO quality_checks VALUES (?, 'text', ?, 1)", (task_id, _stored(source)))
        database.commit()
    if source.random() < 0.1:
        path.write_bytes(spoilt(path.read_bytes(), source))


def _stored(source: random.Random) -> object:
    """Returns what SQLite may hold in any column."""
    plain = str(_plain(documents.text(source)))
    return source.choice((plain, plain.encode(), None, 1, -(2**63), 1e308, float("inf"), b"\xff\xfe", ""))


def _plain(value: object) -> object:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
