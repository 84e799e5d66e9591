"""The Chinese texts of `pages.overview`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, str]] = {
    "{n} due now": "{n} 个可立即运行",
    "oldest": "最久",
    "with workers": "在 worker 上",
    "{n} running": "{n} 个运行中",
    "workers": "个 worker",
    "{n} slots": "{n} 个槽位",
    "Needs you": "需要处理",
    "Everything is paused: no task is handed out.": "已全部暂停：不派发任务。",
    "Paused accounts:": "暂停的账号：",
    "No worker is connected.": "没有 worker 连接。",
    "The CLI of {worker} is broken:": "{worker} 的 CLI 有故障：",
    "{n} contents wait for their review.": "{n} 篇内容等待审核。",
    "{n} publications have failed.": "{n} 次发布失败。",
    "Nothing else.": "没有其他事项。",
    "Running": "运行中",
    "Nothing runs.": "没有运行中的任务。",
    "Newest": "最新",
}
