"""The Chinese texts of `pages.audit`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, str]] = {
    "Audit": "审计",
    "Who": "操作者",
    "Call": "调用",
    "About": "对象",
    "Time": "时间",
    "From": "从",
    "To": "到",
    "done": "成功",
    "refused or failed": "被拒绝或失败",
    "no valid token": "无有效令牌",
    "A time such as 2030-01-31T08:00.": "应为时间，例如 2030-01-31T08:00。",
    "No call is like that. Each call that may change something is here, the refused ones too.": (
        "没有符合条件的调用。这里记录每个可能引起更改的调用，包括被拒绝的。"
    ),
}
