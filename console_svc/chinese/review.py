"""The Chinese texts of `pages.review`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, str]] = {
    "Review desk": "审核台",
    "To review": "待审核",
    "Article": "文章",
    "Filter": "筛选",
    "An account is a number from 1.": "账号是从 1 开始的数字。",
    "A score is a number.": "评分是数字。",
    "A label is a key and a value, such as team=news.": "标签由键和值组成，例如 team=news。",
    "Approve": "通过",
    "Reject": "拒绝",
    "Send back": "退回重写",
    "Schedule": "定时",
    "Approve and schedule": "通过并定时发布",
    "Publish not before": "最早发布时间",
    "What to do better": "修改意见",
    "It is rejected, and written anew with your note. The new one waits for a review.": (
        "本篇会被拒绝，并按您的意见重新生成，新的一篇再进入待审核。"
    ),
    "Previous": "上一篇",
    "Next": "下一篇",
    "Keys": "快捷键",
    "Undo": "撤销",
    "Approved {n} articles.": "已通过 {n} 篇。",
    "Approved:": "已通过：",
    "Rejected:": "已拒绝：",
    "Sent back:": "已退回重写：",
    "decided by {name}": "由 {name} 决定",
    "It is decided.": "已有审核结果。",
    "You hold it, until": "由您审核，保留至",
    "{holder} holds it, until": "{holder} 正在审核，保留至",
    "the next article": "下一篇",
    "the previous article": "上一篇",
    "approve": "通过",
    "reject, with a reason": "拒绝，并说明理由",
    "send back, with a note": "退回重写，并附意见",
    "approve and schedule": "通过并定时发布",
    "edit": "编辑",
    "undo, for 10 seconds": "撤销（10 秒内）",
    "tick it, to approve several at once": "勾选，以便批量通过",
    "all about this content": "查看该内容的全部信息",
    "send what you typed": "提交所填内容",
    "close what is open": "关闭展开的面板",
    "these keys": "显示快捷键",
    "Approve the ticked ones": "通过勾选的文章",
    "Approve the ticked ones as they are?": "按现状通过勾选的文章？",
    "Tick {title}": "勾选《{title}》",
    "From the beginning": "从头开始",
    "Nothing waits for a review.": "没有待审核的文章。",
    "Nothing like that waits for a review.": "没有符合条件的待审核文章。",
    "Show all that waits": "显示全部待审核",
    "Nothing waits for a review. Articles come here from tasks that are not approved by themselves:": (
        "没有待审核的文章。不自动通过的任务生成的文章会出现在这里："
    ),
    "Others hold all that waits. What they do not decide comes back by itself.": (
        "待审核的文章都有人在审核。到期未作决定的会自动回到这里。"
    ),
    "Say what to do better.": "请填写修改意见。",
    "Say when to publish.": "请填写发布时间。",
    "Say why you reject it.": "请填写拒绝理由。",
    "Somebody else has decided it.": "其他人已作出决定。",
    "Somebody has changed it since you read it. Read it again: this is how it is now.": (
        "在您阅读期间有人修改了文章，请重新阅读：以下是最新版本。"
    ),
    "Tick some first.": "请先勾选文章。",
    "None is approved, because one has changed: {message}": "有一篇已发生变化，因此全部未通过：{message}",
    "It has been written anew already: {task_id}": "已经重新生成：{task_id}",
    "It is still written anew: {task_id}": "重新生成的任务仍在进行：{task_id}",
}
