"""Messages to people: a title with the numbers, and a body with the causes and the first articles, with links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from scheduler_svc.domain.webhook import EventType

MAX_BODY = 900
"""Characters, and twice as many bytes: as much as WeCom and Teams take."""
_MAX_TITLE = 60

Plural = tuple[str, str]
"""What one, and what several are."""


class Texts(NamedTuple):
    """A language's. `events`: by event type; `causes`: by reason, which is shown if it is not there."""

    events: Mapping[str, Plural]
    causes: Mapping[str, str]
    separator: str
    untitled: str
    more: str
    test: str


_EN = Texts(
    {
        EventType.CONTENT_PENDING_REVIEW: ("1 article waits for review", "{n} articles wait for review"),
        EventType.CONTENT_APPROVED: ("1 article was approved", "{n} articles were approved"),
        EventType.CONTENT_REJECTED: ("1 article was rejected", "{n} articles were rejected"),
        EventType.PUBLISH_PUBLISHED: ("1 article was published", "{n} articles were published"),
        EventType.PUBLISH_FAILED: ("1 publication failed", "{n} publications failed"),
        EventType.TASK_FAILED: ("1 task failed", "{n} tasks failed"),
        EventType.TASK_ENDED: ("1 task ended", "{n} tasks ended"),
        EventType.BUDGET_USED_UP: ("the budget of 1 account is used up", "the budgets of {n} accounts are used up"),
    },
    {},
    "; ",
    "(no title)",
    "… and {n} more",
    "contentgen: this is a test message. The channel works.",
)
_ZH = Texts(
    {
        EventType.CONTENT_PENDING_REVIEW: ("{n} 篇文章等待审核",) * 2,
        EventType.CONTENT_APPROVED: ("{n} 篇文章通过审核",) * 2,
        EventType.CONTENT_REJECTED: ("{n} 篇文章被拒绝",) * 2,
        EventType.PUBLISH_PUBLISHED: ("{n} 篇文章已发布",) * 2,
        EventType.PUBLISH_FAILED: ("{n} 篇文章发布失败",) * 2,
        EventType.TASK_FAILED: ("{n} 个任务失败",) * 2,
        EventType.TASK_ENDED: ("{n} 个任务已结束",) * 2,
        EventType.BUDGET_USED_UP: ("{n} 个账号的预算已用完",) * 2,
    },
    {
        "CREATOR_ERROR": "创作程序出错",
        "CREATOR_TIMEOUT": "创作程序超时",
        "CREATOR_INVALID_RESPONSE": "创作程序的结果无法识别",
        "CREATOR_CLI_NOT_FOUND": "找不到创作程序",
        "TASK_TIMEOUT": "任务超时",
        "DEFERRED": "推迟次数过多",
        "WORKER_LOST": "工作节点失联",
        "RESULT_TOO_LARGE": "结果过大",
        "INVALID_CREATOR_OPTIONS": "创作选项无效",
        "NO_WORKER_ACCEPTS": "没有工作节点接受",
        "CANCELLED_BY_CLIENT": "已被取消",
        "EXPIRED": "已过期",
        "COMPLETED": "已完成",
    },
    "；",
    "（无标题）",
    "……另有 {n} 篇",
    "contentgen：这是一条测试消息，通知渠道工作正常。",
)
_OF = {"en": _EN, "zh_CN": _ZH}


def message(data: Mapping[str, Any], console: str) -> tuple[str, str]:
    """Returns title and body of what `notifications.work` stored. `console`: the address for links; empty: none."""
    texts, groups = _OF[data["language"]], data["groups"]
    if not groups:
        return texts.test, texts.test
    counts: dict[str, int] = {}
    for group in groups:
        counts[group["event_type"]] = counts.get(group["event_type"], 0) + group["number"]
    title = texts.separator.join(_counted(texts, event_type, n) for event_type, n in counts.items())
    lines = [line for event_type in counts for line in _lines(texts, groups, event_type, counts[event_type], console)]
    return title, _cut(lines)


def _counted(texts: Texts, event_type: str, n: int) -> str:
    return texts.events[event_type][n != 1].format(n=n)


def _lines(
    texts: Texts, groups: Sequence[Mapping[str, Any]], event_type: str, count: int, console: str
) -> Iterator[str]:
    yield _counted(texts, event_type, count)
    own = [group for group in groups if group["event_type"] == event_type]
    if event_type.startswith("task."):
        for group in sorted(own, key=lambda group: -int(group["number"])):
            yield f"- {group['number']} × {texts.causes.get(group['cause'], group['cause'])}"
            yield from (f"  {console}/tasks/{data['task_id']}" for data in group["first"][:1] if console)
        return
    for data in own[0]["first"]:
        named = " ".join(data["title"].split())[:_MAX_TITLE] or texts.untitled
        link = f" {console}/contents/{data['content_id']}" if console else ""
        yield f"- {named} ({data['account']}){link}" if data["account"] else f"- {named}{link}"
    if more := count - len(own[0]["first"]):
        yield texts.more.format(n=more)


def _cut(lines: Sequence[str]) -> str:
    body = ""
    for line in lines:
        longer = f"{body}{line}\n"
        if len(longer) > MAX_BODY or len(longer.encode()) > 2 * MAX_BODY:
            return f"{body}…"
        body = longer
    return body.rstrip()
