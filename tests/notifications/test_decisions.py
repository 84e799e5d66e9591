"""What messages say, and when it is quiet."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scheduler_svc.domain.channel import QuietHours
from scheduler_svc.domain.webhook import EventType
from scheduler_svc.notifications.service import EVENT_TYPES
from scheduler_svc.notifications.texts import MAX_BODY, message

pytestmark = pytest.mark.unit


def group(event_type: str, number: int = 1, cause: str = "", **data: object) -> dict[str, object]:
    return {"event_type": event_type, "cause": cause, "number": number, "first": [data]}


def test_what_is_named_has_a_link_to_the_console() -> None:
    groups = [
        group("content.pending_review", 3, content_id=7, title="春天", account="新闻"),
        group("task.failed", 2, "WORKER_LOST", task_id="task-1"),
    ]
    title, body = message({"language": "zh_CN", "groups": groups}, "https://desk.example")
    assert title == "3 篇文章等待审核；2 个任务失败"
    assert body.splitlines() == [
        *("3 篇文章等待审核", "- 春天 (新闻) https://desk.example/contents/7", "……另有 2 篇"),
        *("2 个任务失败", "- 2 × 工作节点失联", "  https://desk.example/tasks/task-1"),
    ]


@pytest.mark.parametrize("language", ["en", "zh_CN"])
def test_each_event_has_its_text_and_no_body_is_too_long(language: str) -> None:
    groups = [group(name, 9, content_id=1, title="长" * 500, account="a", task_id="task-1") for name in EVENT_TYPES]
    assert set(EVENT_TYPES) == set(EventType) - {EventType.PING, EventType.DIGEST}
    title, body = message({"language": language, "groups": groups}, "https://desk.example")
    assert title.count("9 ") == len(EVENT_TYPES)
    assert len(body) <= MAX_BODY + 1
    assert len(body.encode()) <= 2 * MAX_BODY + 3


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "now", "end"),
    [
        ("22:00-08:00 Asia/Shanghai", "2026-01-01T13:59", None),
        ("22:00-08:00 Asia/Shanghai", "2026-01-01T14:00", "2026-01-02T00:00"),
        ("22:00-08:00 Asia/Shanghai", "2026-01-01T23:59", "2026-01-02T00:00"),
        ("22:00-08:00 Asia/Shanghai", "2026-01-02T00:00", None),
        ("12:00-13:30 Etc/UTC", "2026-01-01T12:30", "2026-01-01T13:30"),
        ("12:00-13:30 Etc/UTC", "2026-01-01T13:30", None),
        ("01:00-04:00 Europe/Berlin", "2026-03-29T00:30", "2026-03-29T02:00"),
    ],
)
def test_quiet_hours_end_by_the_clocks_of_their_zone(hours: str, now: str, end: str | None) -> None:
    quiet = QuietHours.read(hours)
    assert quiet
    assert quiet.end_after(at(now)) == (at(end) if end else None)


@pytest.mark.parametrize(
    "hours", ["", "22:00-08:00", "22-08 Etc/UTC", "24:00-08:00 Etc/UTC", "08:00-08:00 Etc/UTC", "22:00-08:00 Moon"]
)
def test_what_are_no_quiet_hours(hours: str) -> None:
    assert QuietHours.read(hours) is None
