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
    "You have signed out.": "您已退出登录。",
    "All sessions of your token were signed out.": "该令牌的所有会话均已退出。",
    "Your session has ended: you asked for nothing for 8 hours.": "会话已结束：8 小时内没有任何请求。",
    "Your session has ended: it began 24 hours ago.": "会话已结束：已超过 24 小时。",
    "Your session has ended: there were too many newer ones.": "会话已结束：较新的会话过多。",
    "Your session has ended, perhaps because the console was restarted.": "会话已结束，可能是控制台已重启。",
    "The schedulers do not know your token any more.": "调度器已不再认识您的令牌，它可能已被撤销。",
    "The proxy before this console signs users in, and it has named no token.": (
        "用户由控制台前的代理登录，而代理没有给出令牌。"
    ),
    "The schedulers do not know the token that the proxy before this console has named.": (
        "调度器不认识控制台前的代理所给出的令牌。"
    ),
    "Too many tries. Wait a minute.": "尝试次数过多，请稍等一分钟。",
    "The schedulers do not know this token.": "调度器不认识该令牌。",
    "No scheduler answers. Try again in a moment.": "没有调度器响应，请稍后再试。",
}
