"""The Chinese texts of `pages.overview`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, str]] = {
    "due now": "个可立即运行",
    "{n} pending": "{n} 个等待中",
    "oldest": "最久已等",
    "running": "个运行中",
    "{n} slots": "{n} 个槽位",
    "{n} handed out": "{n} 个已派发",
    "success today": "今日成功率",
    "{n} completed": "{n} 个已完成",
    "{n} failed": "{n} 个失败",
    "cost today": "今日费用",
    "workers": "个 worker",
    "{n} busy": "{n} 个在工作",
    "Needs you": "需要处理",
    "Everything is paused: no task is handed out.": "已全部暂停：不派发任务。",
    "Account {account} is paused.": "账号 {account} 已暂停。",
    "No worker is connected.": "没有 worker 连接。",
    "The CLI of {worker} is broken.": "{worker} 的 CLI 有故障。",
    "{n} contents wait for their review.": "{n} 篇内容等待审核。",
    "{n} publications have failed.": "{n} 次发布失败。",
    "Nothing at the moment.": "目前没有。",
    "Tasks over time": "任务走势",
    "Running": "运行中",
    "Nothing runs.": "没有运行中的任务。",
    "Moves": "动态",
    "What tasks do appears here at once, the newest first.": "任务的每一步都会即时出现在这里，最新的在最上面。",
    "is tried again": "将重试",
}
