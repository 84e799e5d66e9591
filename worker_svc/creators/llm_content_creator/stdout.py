"""Parses what llm-content-creator prints: Chinese text with colours, between lines of its log.

Layer: inside this package, pure.

The log has two forms: human-readable lines, and one JSON object a line if NODE_ENV is `production`. Topic and article
are printed too, and may contain anything, so the parser trusts only what neither of them can forge.
"""

from __future__ import annotations

import re

from worker_svc.creators.progress import RunProgress
from worker_svc.outcome import clean

STEPS = ("search", "organize", "write", "checkText", "generateImage", "checkImage")
"""The steps of a run in order. A failed check repeats the step before it."""
OVER_QUOTA = "Request failed with status code 429"
"""The error of a run whose model is over its quota. It does not say for how long."""

_STATES = {"已完成": "completed", "失败": "failed", "已取消": "cancelled"}
_STARTED = re.compile(r"\[Node:(\w+)\] Node execution started")
_NODE_FAILED = re.compile(r"\[Node:(\w+)\] Node execution failed")
_SCORE = re.compile(r"^🔍 文本质检:\n─+\n状态: .*\n评分: (\d+(?:\.\d+)?)/100$", re.MULTILINE)
_REFUSED = re.compile(r"path: \[ '(\w+)' \]")
_REASON = re.compile(r"^(?:❌ 错误|error|\w*Error(?: \[\w+\])?): .+", re.MULTILINE)
_MAX_LINE = 8_000


class CreateOutput:
    def __init__(self, stdout: bytes) -> None:
        self._text = clean(stdout.decode("utf-8", "replace"), len(stdout))

    def state_of(self, task_id: str) -> str | None:
        """Returns how the run with that id ended: `completed`, `failed`, `cancelled`, or the program's own word.

        The program makes the id at random after reading its arguments, so no topic can contain it.
        """
        match = re.search(rf"^任务ID: {re.escape(task_id)}\n状态: (.+)$", self._text, re.MULTILINE)
        return _STATES.get(match[1], match[1]) if match else None

    def score(self) -> float | None:
        """Returns the last score of the text, 0 to 10 (printed as `8.6/100`). The article comes before it."""
        scores = _SCORE.findall(self._text)
        return float(scores[-1]) if scores else None

    def failed_step(self) -> str | None:
        """Returns the step in which the run failed; None if it was none."""
        steps = _NODE_FAILED.findall(self._text)
        return steps[-1] if steps and steps[-1] in STEPS else None


def progress(line: str) -> RunProgress | None:
    """Returns the step that a line says has begun, and the percentage of the steps before it."""
    match = _STARTED.search(line[:_MAX_LINE])
    if not match or match[1] not in STEPS:
        return None
    return RunProgress(100 * STEPS.index(match[1]) // len(STEPS), match[1], "")


def refused_settings(stderr: str) -> list[str]:
    """Returns the variables that the program names as the reason why it does not start."""
    return list(dict.fromkeys(_REFUSED.findall(stderr)))


def reason(stderr: str) -> str:
    """Returns the line of stderr that names the error, above Node's stack; empty if there is none."""
    reasons = _REASON.findall(stderr)
    return reasons[-1] if reasons else ""
