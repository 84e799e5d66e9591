"""The Chinese texts of `pages.signin`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, str]] = {
    "Your token": "您的令牌",
    "The one that an operator made for you by `contentgen-scheduler token`. It stays in the memory of the console.": (
        "由运维人员用 `contentgen-scheduler token` 为您创建。它只保存在控制台的内存中。"
    ),
    "This form is not from this page. Load the page anew.": "表单不是来自本页，请重新加载页面。",
    "Too many tries. Wait a minute.": "尝试次数过多，请稍等一分钟。",
    "The schedulers do not know this token.": "调度器不认识该令牌。",
    "No scheduler answers. Try again in a moment.": "没有调度器响应，请稍后再试。",
}
