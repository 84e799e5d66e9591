"""The Chinese texts that the overview and the pages of workers and accounts share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, str]] = {
    "Time span": "时间范围",
    "1 hour": "1 小时",
    "24 hours": "24 小时",
    "7 days": "7 天",
    "30 days": "30 天",
    "Tasks submitted, and how they ended": "提交的任务及其结果",
    "Seconds that completed ones took": "完成的任务所用秒数",
    "Cost of the contents": "内容的费用",
    "Quality score, the mean": "质量评分（平均）",
    "Score": "评分",
    "As a table": "表格形式",
    "Figures by time": "各时段数据",
    "Time": "时间",
    "Begins": "开始",
    "Tasks submitted": "提交",
    "Half took at most": "半数用时不超过",
    "95 % took at most": "95% 用时不超过",
    "Cost": "费用",
    "since": "始于",
}
