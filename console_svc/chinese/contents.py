"""The Chinese texts of `pages.contents` and `pages.content`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, str]] = {
    "Words": "关键词",
    "in title or topic": "标题或主题",
    "Review": "审核",
    "Publication": "发布",
    "any": "不限",
    "Decided by": "决定人",
    "No content is like that.": "没有符合条件的内容。",
    "Show all contents": "显示全部内容",
    "There are no contents yet: tasks make them. Submit one:": "还没有内容：内容由任务生成。提交一个任务：",
    "An account is a number, a score too, and a label is like team=news.": (
        "账号和评分是数字，标签的格式是 team=news。"
    ),
    "About it": "相关信息",
    "nobody: it was approved by itself": "无（自动通过）",
    "Written anew by": "重新生成的任务",
    "Held by": "正在审核",
    "until": "至",
    "Address": "地址",
    "Not before": "最早时间",
    "Task": "任务",
    "Files": "文件",
    "{n} bytes": "{n} 字节",
    "Revisions": "修订版本",
    "From": "从",
    "To": "到",
    "By": "作者",
    "Time": "时间",
    "From revision {n}": "从版本 {n}",
    "To revision {n}": "到版本 {n}",
    "the creator": "生成程序",
    "Compare": "比较",
    "Revision {old} to {new}": "版本 {old} 到 {new}",
    "They are the same.": "两个版本相同。",
    "Nobody has edited it.": "没有人修改过。",
    "Open in the review desk": "在审核台打开",
    "Take the decision back": "撤回决定",
    "Take the decision back? It waits for a review again, and leaves the publish pool.": (
        "撤回决定？该内容会重新等待审核，并移出发布池。"
    ),
    "Delete": "删除",
    "Delete this content for good?": "永久删除该内容？",
    "It is published, or being published. Delete it for good all the same?": (
        "该内容已发布或正在发布。仍要永久删除吗？"
    ),
    "Content {content_id} is deleted.": "内容 {content_id} 已删除。",
    "Not deleted: {message}": "未删除：{message}",
    "Superseded by": "已被取代：",
}
