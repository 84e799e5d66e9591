"""The Chinese texts of `pages.task`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, str]] = {
    "There is no such task.": "没有该任务。",
    "It waits:": "等待原因：",
    "Cancel this task? What runs is stopped.": "取消该任务？正在运行的将被停止。",
    "Cancel": "取消",
    "Retry": "重试",
    "Retries": "重试次数",
    "Keywords": "关键词",
    "Category": "类别",
    "Tone": "语气",
    "Scheduled for": "计划时间",
    "Started": "开始时间",
    "Ended": "结束时间",
    "Requirements": "要求",
    "History": "历史",
    "Output of attempt {attempt}": "第 {attempt} 次尝试的输出",
}
