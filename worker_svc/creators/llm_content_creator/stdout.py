"""What llm-content-creator prints: for people, in Chinese, with colours, between lines of its log.

Layer: inside this package, pure.

The log has two forms: lines for people, and one JSON object a line where NODE_ENV is `production`. Topic and article
are printed too, and may hold anything, so what decides is looked for only where neither of them can have put it.
"""

from __future__ import annotations

import re

from worker_svc.creators.progress import RunProgress
from worker_svc.outcome import clean

STEPS = ("search", "organize", "write", "checkText", "generateImage", "checkImage")
"""The steps of a run in their order; a check that is not passed goes back to the step before."""
OVER_QUOTA = "Request failed with status code 429"
"""The error of a run whose model takes no more for now. How long that lasts it does not say."""

_STATES = {"已完成": "completed", "失败": "failed", "已取消": "cancelled"}
_STARTED = re.compile(r"\[Node:(\w+)\] Node execution started")
_NODE_FAILED = re.compile(r"\[Node:(\w+)\] Node execution failed")
_SCORE = re.compile(r"^🔍 文本质检:\n─+\n状态: .*\n评分: (\d+(?:\.\d+)?)/100$", re.MULTILINE)
_REFUSED = re.compile(r"path: \[ '(\w+)' \]")
_REASON = re.compile(r"^(?:❌ 错误|error|\w*Error(?: \[\w+\])?): .+", re.MULTILINE)
_MAX_LINE = 8_000


class CreateOutput:
    """The stdout of a `create`, or the end of it."""

    def __init__(self, stdout: bytes) -> None:
        self._text = clean(stdout.decode("utf-8", "replace"), len(stdout))

    def state_of(self, task_id: str) -> str | None:
        """How the run of that id ended, as the program says: `completed`, `failed`, `cancelled`, or its own word.

        The id is random, and made by the program after it has read its arguments: no topic knows it.
        """
        found = re.search(rf"^任务ID: {re.escape(task_id)}\n状态: (.+)$", self._text, re.MULTILINE)
        return _STATES.get(found[1], found[1]) if found else None

    def score(self) -> float | None:
        """The score of the text, 0 to 10 (it prints `8.6/100`): the last one, since the article comes before."""
        found = _SCORE.findall(self._text)
        return float(found[-1]) if found else None

    def failed_step(self) -> str | None:
        """The step that the run failed in, where it was one."""
        found = _NODE_FAILED.findall(self._text)
        return found[-1] if found and found[-1] in STEPS else None


def progress(line: str) -> RunProgress | None:
    """The step that a line of output says has begun, and the part of all steps that were done before it."""
    found = _STARTED.search(line[:_MAX_LINE])
    if not found or found[1] not in STEPS:
        return None
    return RunProgress(100 * STEPS.index(found[1]) // len(STEPS), found[1], "")


def refused_settings(stderr: str) -> list[str]:
    """The variables that it names where it does not start for their sake."""
    return list(dict.fromkeys(_REFUSED.findall(stderr)))


def reason(stderr: str) -> str:
    """The line of stderr that names the error: below it Node prints the stack. Empty where there is none."""
    found = _REASON.findall(stderr)
    return found[-1] if found else ""
