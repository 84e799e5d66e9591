"""The Chinese texts of `pages.schedules`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, str]] = {
    "Schedules": "定时计划",
    "New schedule": "新建定时计划",
    "Name": "名称",
    "When": "时间",
    "Next runs": "下次运行",
    "Last run": "上次运行",
    "paused: no runs": "已暂停，不运行",
    "none: its cron line has ended": "没有：cron 表达式不再有匹配的时间",
    "never": "从未",
    "Run now": "立即运行",
    "Resume": "恢复",
    "Pause": "暂停",
    "Delete": "删除",
    "Delete this schedule? Its tasks stay.": "删除该定时计划？它的任务会保留。",
    "There is no schedule here. One submits the same task again and again, at the times that you say.": (
        "这里没有定时计划。定时计划会按您设定的时间反复提交同一个任务。"
    ),
    "There is no such schedule.": "没有该定时计划。",
    "Minute, hour, day of the month, month, day of the week, such as 0 9 * * MON-FRI.": (
        "分、时、日、月、星期，例如 0 9 * * MON-FRI。"
    ),
    "paused": "已暂停",
    "active": "启用",
    "Nothing was saved: see the fields below.": "未保存：请检查以下字段。",
    "Cron line": "cron 表达式",
    "Time zone": "时区",
    "Missed runs": "错过的运行",
    "the latest of them runs": "补上最近一次",
    "all of them run, up to 100": "全部补上，最多 100 次",
    "none of them runs": "不补",
    "While the last task is open": "上一个任务未结束时",
    "submit another one": "照常提交",
    "submit none": "不提交",
    "Delay at random, in seconds": "随机延迟（秒）",
    "The task": "任务",
    "yes": "是",
    "no": "否",
    "Begin paused": "创建后暂停",
    "Create": "创建",
    "A number of seconds.": "应为秒数。",
    "Created schedule {schedule_id}.": "已创建定时计划 {schedule_id}。",
    "Changed schedule {schedule_id}.": "已修改定时计划 {schedule_id}。",
    "Paused schedule {schedule_id}.": "已暂停定时计划 {schedule_id}。",
    "Resumed schedule {schedule_id}.": "已恢复定时计划 {schedule_id}。",
    "Deleted schedule {schedule_id}.": "已删除定时计划 {schedule_id}。",
    "Schedule {schedule_id} has submitted this task.": "定时计划 {schedule_id} 提交了此任务。",
}
