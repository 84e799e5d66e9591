"""Channels over a real server, with real receivers: which messages people get, and when. Time moves by SQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode, aio

from contentgen.v1 import notification_service_pb2 as pb
from scheduler_svc.notifications.apprise_call import PLUGINS
from tests.api.cases import NOTHING, OTHER_PAGE, OWN, Bad, Good, missing, of
from tests.harness.client import refused
from tests.harness.maker import Maker, new_account, submitted
from tests.harness.receivers import MailServer, Received, Receiver, receiving, status
from tests.harness.scheduling import sql
from tests.harness.stubs import NotificationServiceAsyncStub, TaskServiceAsyncStub
from tests.harness.waiting import PATIENCE_S, wait_until_async

pytestmark = [
    pytest.mark.contract,
    pytest.mark.usefixtures("shared_scheduler"),
    pytest.mark.costly("sandboxes that import apprise, two seconds each", seconds=12),
]

REVIEW, FAILED = "content.pending_review", "task.failed"


@pytest.fixture
def replica_settings() -> dict[str, str]:
    """Those of one whose channels may lead to this machine."""
    return {"webhook_allow": "127.0.0.0/8"}


class Site:
    """The channels of a replica, and a receiver of their messages as JSON."""

    def __init__(self, channel: aio.Channel, engine: sa.Engine, receiver: Receiver, account: int) -> None:
        self.stub, self.tasks = NotificationServiceAsyncStub(channel), TaskServiceAsyncStub(channel)
        self.receiver, self.account, self._engine = receiver, account, engine
        self.url = f"json://127.0.0.1:{receiver.port}/a-token-of-the-receiver"

    async def create(self, *event_types: str, url: str = "", **fields: object) -> pb.Channel:
        channel = pb.Channel(url=url or self.url, event_types=event_types or [REVIEW], **fields)  # type: ignore[arg-type]
        return (await self.stub.CreateChannel(pb.CreateChannelRequest(channel=channel))).channel

    async def update(self, channel_id: int, **fields: object) -> pb.Channel:
        channel = pb.Channel(channel_id=channel_id, **fields)  # type: ignore[arg-type]
        request = pb.UpdateChannelRequest(channel=channel, update_mask=FieldMask(paths=fields))
        return (await self.stub.UpdateChannel(request)).channel

    async def read(self, channel_id: int) -> pb.Channel:
        (channel,) = (
            entry
            for entry in (await self.stub.ListChannels(pb.ListChannelsRequest())).channels
            if entry.channel_id == channel_id
        )
        return channel

    async def test(self, channel_id: int) -> pb.TestChannelResponse:
        return await self.stub.TestChannel(pb.TestChannelRequest(channel_id=channel_id))

    async def message(self, number: int = 1) -> tuple[str, list[str]]:
        """Returns title and lines of the so-manieth message, once it has come and is the last one."""
        received = await self.receiver.take(number)
        assert len(received) == number
        return shown(received[-1])

    async def fail(self, maker: Maker, *reasons: str) -> None:
        """Fails a task for each reason."""
        for reason in reasons:
            await submitted(maker.tasks, maker.account, auto_retry=False)
            await maker.worker.fail(await maker.worker.run(), reason)
            await maker.worker.heartbeat(0)

    async def until_held(self, number: int) -> None:
        async def all_held() -> bool:
            return sql(self._engine, "SELECT count(*) FROM channel_events") == [(number,)]

        await wait_until_async(all_held, within=PATIENCE_S, what=f"{number} events are held")

    def pass_time(self, seconds: float) -> None:
        """Makes what is held, and what waits to be sent, so much older."""
        for table, column in (("channel_events", "due_time"), ("webhook_deliveries", "next_attempt_time")):
            sql(self._engine, f"UPDATE {table} SET {column} = {column} - make_interval(secs => :s)", s=seconds)


def shown(received: Received) -> tuple[str, list[str]]:
    return received.message["title"], received.message["message"].splitlines()


def hours_around_now() -> str:
    now = datetime.now(UTC)
    begin, end = (f"{now + timedelta(hours=hours):%H:%M}" for hours in (-2, 2))
    return f"{begin}-{end} Etc/UTC"


@pytest.fixture
async def site(channel: aio.Channel, engine: sa.Engine, account: int) -> AsyncIterator[Site]:
    async with receiving() as receiver:
        yield Site(channel, engine, receiver, account)


async def test_an_article_that_waits_for_review_is_told_with_its_title(site: Site, maker: Maker) -> None:
    await site.create(language="zh_CN")
    await maker(auto_approve=False, title="春天 来了")
    assert await site.message() == ("1 篇文章等待审核", ["1 篇文章等待审核", "- 春天 来了 (an account)"])


async def test_a_failed_publication_is_told(site: Site, maker: Maker, engine: sa.Engine) -> None:
    await site.create("publish.failed", account_ids=[site.account])
    await maker(title="A title")
    for _ in range(3):
        sql(engine, "UPDATE publish_pool SET next_attempt_time = now()")
        (claimed,) = await maker.claim()
        await maker.report(claimed)
    title, lines = await site.message()
    assert (title, lines[1][:9]) == ("1 publication failed", "- A title")


async def test_tasks_that_fail_make_one_message_with_the_numbers_of_their_causes(site: Site, maker: Maker) -> None:
    await site.create(FAILED)
    await site.fail(maker, "CREATOR_TIMEOUT", *["CREATOR_ERROR"] * 7)
    await site.until_held(8)
    site.pass_time(61)
    title, lines = await site.message()
    assert (title, lines[0]) == ("8 tasks failed", "8 tasks failed")
    assert [line for line in lines if line.startswith("- ")] == ["- 7 × CREATOR_ERROR", "- 1 × CREATOR_TIMEOUT"]


async def test_a_digest_gathers_what_happens_in_its_time(site: Site, maker: Maker) -> None:
    await site.create(REVIEW, FAILED, digest=Duration(seconds=3_600))
    await maker(auto_approve=False)
    await site.fail(maker, "CREATOR_ERROR")
    await maker(auto_approve=False)
    await site.until_held(3)
    assert site.receiver.received == []
    site.pass_time(3_600)
    title, _ = await site.message()
    assert title == "2 articles wait for review; 1 task failed"


async def test_in_quiet_hours_everything_is_held_for_one_message(site: Site, maker: Maker) -> None:
    channel = await site.create(quiet_hours=hours_around_now())
    for _ in range(2):
        await maker(auto_approve=False)
    await site.until_held(2)
    assert (await site.test(channel.channel_id)).delivered, "a test is sent at once"
    await site.update(channel.channel_id, quiet_hours="")
    title, _ = await site.message(2)
    assert title == "2 articles wait for review"


async def test_only_what_is_wanted_of_whom_is_told(site: Site, maker: Maker, channel: aio.Channel) -> None:
    other = await new_account(channel)
    await site.create(account_ids=[other])
    paused = await site.create()
    await maker(auto_approve=False, title="before")
    await site.message()
    assert not (await site.update(paused.channel_id, active=False)).active
    await site.create(digest=Duration(seconds=60))
    await maker(auto_approve=False, title="after")
    await site.until_held(1)
    assert len(site.receiver.received) == 1


async def test_a_paused_channel_forgets_what_is_held(site: Site, maker: Maker) -> None:
    channel = await site.create(digest=Duration(seconds=3_600))
    await maker(auto_approve=False)
    await site.until_held(1)
    await site.update(channel.channel_id, active=False)
    await site.until_held(0)


async def test_a_receiver_that_fails_gets_it_again(site: Site, maker: Maker) -> None:
    site.receiver.answer = status(500)
    channel = await site.create()
    await maker(auto_approve=False)

    async def failing() -> list[pb.Channel]:
        current = await site.read(channel.channel_id)
        return [current] if current.last_error else []

    (failed,) = await wait_until_async(failing, within=PATIENCE_S, what="the channel fails")
    assert "error=500" in failed.last_error
    assert "a-token" not in str(failed)
    site.receiver.answer = status(200)
    site.pass_time(10)
    first, second = map(shown, await site.receiver.take(2))
    assert first == second

    async def works() -> bool:
        return not (await site.read(channel.channel_id)).last_error

    await wait_until_async(works, within=PATIENCE_S, what="the channel works")


async def test_a_message_comes_by_mail(site: Site) -> None:
    with MailServer() as server:
        url = f"mailto://127.0.0.1:{server.port}?from=desk@news.example&to=editor@news.example"
        channel = await site.create(url=url, language="zh_CN")
        answer = await site.test(channel.channel_id)
    assert answer.delivered, answer
    (mail,) = server.received
    assert "测试消息" in mail["subject"]
    assert "editor@news.example" in mail["to"]


async def test_a_test_message_that_fails_says_why(site: Site) -> None:
    site.receiver.answer = status(404)
    channel = await site.create()
    answer = await site.test(channel.channel_id)
    assert not answer.delivered
    assert "404" in answer.error
    assert (await site.read(channel.channel_id)).last_error == answer.error


ADDRESSES = {
    "feishu": "feishu://0123456789abcdef",
    "lark": "lark://0123456789abcdef",
    "dingtalk": "dingtalk://0123456789abcdef0123456789abcdef",
    "wecombot": "wecombot://0123456789abcdef",
    "slack": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
    "workflows": "workflows://127.0.0.1:443/643e69f83c8944/signature",
    "mailto": "mailto://user:password@127.0.0.1.nip.invalid?from=a@news.example&to=b@news.example",
    "mailtos": "mailtos://user:password@news.invalid?from=a@news.example&to=b@news.example",
    "json": "json://127.0.0.1/path",
    "jsons": "jsons://127.0.0.1/path",
}


async def test_addresses_of_each_kind_are_taken_and_shown_by_kind_only(site: Site) -> None:
    assert ADDRESSES.keys() == PLUGINS.keys()
    for scheme, url in ADDRESSES.items():
        channel = await site.create(url=url)
        assert channel.url == ""
        assert channel.destination.startswith(f"{scheme}://…")
        assert len(channel.destination) < 25
    changed = await site.update(channel.channel_id, url=ADDRESSES["json"])
    assert changed.destination.startswith("json://…")


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("file:///etc/passwd", "must begin with one of feishu://"),
        ("syslog://", "must begin with one of feishu://"),
        ("dbus://", "must begin with one of feishu://"),
        ("https://news.example/hook", "must begin with one of feishu://"),
        ("slack://x", "is no valid address of slack://"),
        ("json://10.0.0.1/", "must lead to an address that is allowed"),
        ("jsons://169.254.169.254/", "must lead to an address that is allowed"),
        ("mailtos://user:pass@192.168.1.1?from=a@news.example&to=b@news.example", "must lead to an address"),
    ],
)
async def test_an_address_is_refused(site: Site, url: str, wanted: str) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await site.create(url=url)
    assert wanted in refusal.message


async def test_an_address_can_make_it_read_no_file(site: Site) -> None:
    """A plugin would send a file of the scheduler's machine as its template."""
    channel = await site.create(url=f"{ADDRESSES['workflows']}?template=/etc/passwd")
    answer = await site.test(channel.channel_id)
    assert "could not be read" in answer.error


# What tests/api calls: requests that are answered, and those that are refused.
CHANNEL = of(channel="one_channel")
FIELDS = {
    "url": "feishu://0123456789abcdef",
    "description": "编辑部",
    "event_types": [FAILED, REVIEW],
    "account_ids": [OWN],
    "quiet_hours": "22:00-08:00 Asia/Shanghai",
    "digest": "900s",
    "language": "zh_CN",
}
ANSWERED = {**FIELDS, "url": "", "destination": str, "active": True, "last_error": ""}
GOOD = [
    Good("CreateChannel", {"channel": FIELDS}, {"channel": ANSWERED}),
    Good("ListChannels", {}, {"channels": lambda channels: isinstance(channels, list), "next_page_token": str}),
    Good(
        "UpdateChannel",
        {
            "channel": {**CHANNEL, **FIELDS, "active": False},
            "update_mask": "url,description,eventTypes,accountIds,quietHours,digest,language,active",
        },
        {"channel": {**CHANNEL, **ANSWERED, "active": False}},
    ),
    Good("DeleteChannel", CHANNEL, {}),
    Good("TestChannel", CHANNEL, {"delivered": False, "error": str}),
]
BAD = [
    Bad("CreateChannel", {}, fields=("channel.url", "channel.event_types")),
    Bad(
        "CreateChannel",
        {
            "channel": {
                "url": "file:///etc/passwd",
                "description": "x" * 201,
                "event_types": [REVIEW, "webhook.ping"],
                "account_ids": ["1", "-1"],
                "quiet_hours": "22:00-22:00 Asia/Shanghai",
                "digest": "86401s",
                "language": "fr",
            }
        },
        fields=(
            *("channel.url", "channel.description", "channel.event_types[1]", "channel.account_ids[1]"),
            *("channel.quiet_hours", "channel.digest", "channel.language"),
        ),
    ),
    missing("CreateChannel", {"channel": {**FIELDS, "account_ids": [NOTHING]}}, "account"),
    Bad("ListChannels", OTHER_PAGE, fields=("page_token",)),
    Bad("UpdateChannel", {}, fields=("channel.channel_id", "update_mask")),
    Bad(
        "UpdateChannel",
        {"channel": CHANNEL, "update_mask": "url,createTime"},
        fields=("update_mask.paths[1]", "channel.url"),
    ),
    missing("UpdateChannel", {"channel": {"channel_id": NOTHING}, "update_mask": "active"}, "channel"),
]
