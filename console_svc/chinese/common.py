"""The Chinese texts of all pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, str]] = {
    "Pages": "页面",
    "Overview": "总览",
    "Tasks": "任务",
    "Sign in": "登录",
    "Sign out": "退出",
    "Sign out everywhere": "退出所有会话",
    "Not done": "未完成",
    "The schedulers do not answer": "调度器没有响应",
    "This page tries again by itself.": "本页会自动重试。",
    "This form is not from this page, or too old. Load the page anew.": "表单不是来自本页，或已过期，请重新加载页面。",
    "Nothing was decided or changed, for the schedulers do not answer. What you typed is still here: send it again once"
    " they do.": "调度器没有响应，未作任何决定或更改。您输入的内容仍在，待其恢复后请重新发送。",
    "No answer came from the schedulers that says whether this was done: it may have been. What you typed is still"
    " here: look before you send it again.": (
        "调度器没有答复是否已执行：操作可能已完成。您输入的内容仍在，请先查看结果再决定是否重新发送。"
    ),
    "The console does not answer. What you typed is still here: send it again once it does.": (
        "控制台没有响应。您输入的内容仍在，待其恢复后请重新发送。"
    ),
    "Send it again": "重新发送",
    "Topic": "主题",
    "State": "状态",
    "Priority": "优先级",
    "Account": "账号",
    "Attempt": "尝试",
    "Worker": "worker",
    "Created": "创建时间",
    "Error": "错误",
    "pending": "等待中",
    "submitted": "已派发",
    "processing": "运行中",
    "completed": "已完成",
    "failed": "失败",
    "timeout": "超时",
    "cancelled": "已取消",
    "This form can't be read. Load the page anew.": "无法读取此表单，请重新加载页面。",
    "The form took too long to arrive. Send it again.": "表单传输时间过长，请重新提交。",
    "The form is too large.": "表单过大。",
    "Too many large forms arrive at a time. Send it again.": "同时传来的大表单过多，请重新提交。",
    "The console has failed. Its log says why.": "控制台出错，原因见其日志。",
    "Progress": "进度",
    "To the content": "跳到内容",
    "The schedulers do not answer. This page goes on by itself.": "调度器没有响应，本页会自动恢复。",
    "The console does not answer. This page goes on by itself.": "控制台没有响应，本页会自动恢复。",
    "client": "客户端",
    "reviewer": "审核员",
    "publisher": "发布员",
    "viewer": "只读",
    "worker": "worker",
    "operator": "运维人员",
}
