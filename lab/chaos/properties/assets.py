"""A content names the file that its run made, which is stored and can be read as it was."""

from __future__ import annotations

from collections.abc import Iterator

from lab.chaos.attempts import disk_was_full
from lab.chaos.evidence import Evidence, Run, StoredContent
from lab.chaos.violation import Violation

NAME = "assets"


_SHORT_TIMEOUT = 60.0
"""Seconds: of an attempt that may not take as long, what is left for its uploads is over soon on a busy machine."""


def assets(evidence: Evidence) -> Iterator[Violation]:
    """A worker may leave the file out if its disk was full, or its task's timeout is short."""
    runs = {run.run: run for run in evidence.journals.runs}
    for content in evidence.stored.contents:
        run = runs.get(content.run or "")
        task = evidence.stored.tasks.get(content.task_id)
        hurried = task is not None and task.timeout < _SHORT_TIMEOUT and content.assets == ("",)
        if run is not None and not hurried and not disk_was_full(run, evidence.journals.faults):
            yield from (Violation(NAME, content.task_id, problem) for problem in _named(content, run))
        yield from (Violation(NAME, content.task_id, problem) for problem in _there(content, evidence))


def _named(content: StoredContent, run: Run) -> Iterator[str]:
    files = () if run.file_sha256 is None else (run.file_sha256,)
    if content.assets != files:
        yield f"its content names the files {_list(content.assets)}, and its run made {_list(files)}"


def _there(content: StoredContent, evidence: Evidence) -> Iterator[str]:
    for sha256 in filter(None, content.assets):
        if sha256 not in evidence.stored.assets:
            yield f"its content names the file {sha256[:8]}, which is not complete"
        if (digest := evidence.answers.files.get(sha256)) is None:
            yield f"its content names the file {sha256[:8]}, which the API does not give"
        elif digest != sha256:
            yield f"its content names the file {sha256[:8]}, and the API gives {digest}"


def _list(names: tuple[str, ...]) -> str:
    return f"[{', '.join(name[:8] or 'left out' for name in names)}]"
