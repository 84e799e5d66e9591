"""The Chinese texts of `pages.tasks`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, str]] = {
    "Show": "显示",
    "All": "全部",
    "Older": "更早",
    "No task is like that. Submit one:": "没有符合条件的任务。可这样提交：",
    "a topic": "一个主题",
}
