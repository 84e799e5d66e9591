"""The Chinese texts of `pages.workers`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, str]] = {
    "Workers": "worker",
    "Dispatch": "派发",
    "By {actor}": "操作者：{actor}",
    "Resume": "恢复",
    "Tasks of all accounts are handed out.": "正在派发所有账号的任务。",
    "Pause everything": "全部暂停",
    "Pause everything? No task is handed out until somebody resumes it. What runs goes on.": (
        "全部暂停？在恢复之前不派发任何任务，正在运行的继续运行。"
    ),
    "Pause account": "暂停账号",
    "{n} workers, {busy} of them busy": "{n} 个 worker，其中 {busy} 个在工作",
    "No worker has been connected within the last hour. Start one:": "过去一小时没有 worker 连接过。启动一个：",
    "taking tasks": "接收任务",
    "draining": "排空中",
    "unhealthy": "故障",
    "gone": "已断开",
    "connected since": "连接于",
    "last seen": "最后一次心跳",
    "Its CLI fails at once or is missing: it tries one task at a time.": (
        "它的 CLI 一启动就失败或不存在：每次只试一个任务。"
    ),
    "Slots of {worker}": "{worker} 的槽位",
    "free": "空闲",
    "closed": "关闭",
    "Ahead of a slot:": "等待槽位：",
    "Undrain": "取消排空",
    "Drain": "排空",
    "Drain {worker}? It finishes what it runs, and takes nothing new.": (
        "排空 {worker}？它会完成正在运行的任务，不再接收新任务。"
    ),
    "Slots": "槽位数",
    "Resize": "调整",
    "Its tasks": "它的任务",
    "and {n} more": "另有 {n} 个",
    "Schedulers": "调度器",
    "Scheduler": "调度器",
    "Version": "版本",
    "Since": "启动时间",
    "Lanes": "通道",
    "silent": "无响应",
    "serving": "服务中",
    "not serving": "未服务",
    "{n} wait, the oldest for {age}": "{n} 项在等待，最久 {age}",
    "{n} for a lock": "{n} 项在等锁",
    "nothing waits": "无等待",
    "Sessions that hold locks": "持有锁的会话",
    "its transaction is open for {age}": "事务已打开 {age}",
    "it has no transaction": "没有事务",
    "the schedulers may not see its state": "调度器看不到它的状态",
    "others wait for it": "有其他会话在等待",
    "Let it commit, or end it:": "让它提交，或结束它：",
    "{worker} takes nothing new, and finishes what it runs.": "{worker} 不再接收新任务，会完成正在运行的任务。",
    "{worker} takes tasks again.": "{worker} 重新接收任务。",
    "Should be a number from 1 to 1,000.": "应为 1 到 1000 的整数。",
    "{worker} has {n} slots now.": "{worker} 现有 {n} 个槽位。",
    "Everything is paused. What runs goes on.": "已全部暂停，正在运行的继续运行。",
    "Account {account} is paused. What runs goes on.": "账号 {account} 已暂停，正在运行的继续运行。",
    "Should be the number of an account.": "应为账号的编号。",
    "Account {account} goes on.": "账号 {account} 已恢复。",
    "Tasks are handed out again.": "已恢复派发任务。",
}
