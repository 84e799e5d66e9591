"""The Chinese texts of `pages.accounts`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, str]] = {
    "Accounts": "账号",
    "Name": "名称",
    "Find": "查找",
    "New account": "新建账号",
    "With workers": "在 worker 上",
    "Due": "可运行",
    "Pending": "等待中",
    "Oldest": "最久已等",
    "Weight": "权重",
    "Starts per minute": "每分钟启动数",
    "Bytes of files": "文件字节数",
    "the schedulers' default": "调度器的默认值",
    "Highest priority": "最高优先级",
    "inactive": "已停用",
    "paused": "已暂停",
    "active": "启用",
    "held back": "受限",
    "A number after a slash is the limit; without one there is none.": "斜线后的数字是上限；没有则不限。",
    "No account has such a name.": "没有名称匹配的账号。",
    "There is no account yet. Tasks belong to one: make the first.": "还没有账号。任务都属于某个账号，请先创建一个：",
    "Page before": "上一页",
    "Next page": "下一页",
    "no limit": "不限",
    "with workers": "个在 worker 上",
    "{n} running": "{n} 个运行中",
    "What holds its tasks back": "任务为何等待",
    "{n} due tasks wait: {running} running, {limit} allowed at once.": (
        "{n} 个到期任务在等待：正在运行 {running} 个，同时最多 {limit} 个。"
    ),
    "Submits are refused: {n} of {limit} that may be pending are.": (
        "拒绝提交：等待中的任务已有 {n} 个，上限 {limit} 个。"
    ),
    "It is inactive, and {n} tasks still wait.": "账号已停用，仍有 {n} 个任务在等待。",
    "The newest of them wait for:": "最新的几个在等：",
    "the pause before the next attempt": "下次尝试前的间隔",
    "their scheduled time": "计划时间",
    "another task of the account to end": "该账号的其他任务结束",
    "a minute to pass: as many have started as may": "每分钟启动数的限制",
    "the end of the pause": "暂停结束",
    "a worker: none is connected": "worker 连接",
    "a free slot": "空闲槽位",
    "Limits": "限制",
    "Tasks at once": "同时运行的任务",
    "Pending tasks": "等待中的任务",
    "Edit": "编辑",
    "Pause": "暂停",
    "Pause this account? None of its tasks is handed out until somebody resumes it. What runs goes on.": (
        "暂停该账号？在恢复之前不派发它的任务，正在运行的继续运行。"
    ),
    "Deactivate": "停用",
    "Deactivate this account? New submits are refused; what was submitted goes on.": (
        "停用该账号？新的提交会被拒绝，已提交的任务继续。"
    ),
    "Activate": "启用账号",
    "The score is that of the newest {n} contents.": "评分只计最新的 {n} 篇内容。",
    "Edit account {account}": "编辑账号 {account}",
    "Save": "保存",
    "Create": "创建",
    "Leave it": "取消",
    "For people; 1 to 200 characters.": "便于识别，1 到 200 个字符。",
    "How many of its tasks may run at once; 0: no limit.": "同时运行的任务数上限；0 表示不限。",
    "Its share of the workers beside other accounts: 0.000001 to 1,000.": (
        "相对其他账号占用 worker 的份额：0.000001 到 1000。"
    ),
    "How many may be pending, scheduled ones included; 0: no limit.": "等待中任务数的上限，含定时任务；0 表示不限。",
    "That its submits may ask for, 1 to 10; 0: no limit.": "提交时可指定的最高优先级，1 到 10；0 表示不限。",
    "Attempts that may start within any minute; 0: no limit.": "任意一分钟内可启动的尝试数；0 表示不限。",
    "That may be stored for it; 0: the schedulers' default.": "可为其存储的文件总字节数；0 表示使用调度器的默认值。",
    "Should be a whole number.": "应为整数。",
    "Should be a number.": "应为数字。",
    "There is no such account.": "没有该账号。",
    "Account {account} was created.": "已创建账号 {account}。",
    "Account {account} was changed.": "已修改账号 {account}。",
    "Nothing was to be changed.": "没有要修改的内容。",
    "Account {account} takes submits again.": "账号 {account} 重新接受提交。",
    "Account {account} takes no submits now.": "账号 {account} 不再接受提交。",
}
