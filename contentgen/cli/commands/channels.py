"""`contentgen channel create|list|update|delete|test`. Layer: commands."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, get_args

import typer

from contentgen.cli import completion, lists, tables, values
from contentgen.cli.command import Commands, Session
from contentgen.cli.failures import Status
from contentgen.cli.lists import write_list
from contentgen.cli.options import All, Limit, PageToken, Yes, stands_for
from contentgen.cli.output import document
from contentgen.cli.values import argument, option
from contentgen.client.results import ChannelEvent, Language

Event = StrEnum("Event", {name: name for name in get_args(ChannelEvent)})  # type: ignore[misc]
"""What a channel may be told."""
ChannelId = Annotated[int, argument("CHANNEL_ID", "The channel.", min=1, autocompletion=completion.channel_ids)]
ChannelIds = Annotated[
    list[int], argument("CHANNEL_ID", "One or more channels.", min=1, autocompletion=completion.channel_ids)
]
Url = Annotated[str, argument("URL", "Where messages go, such as feishu://TOKEN; - reads it from standard input.")]
NewUrl = Annotated[str | None, option("Where messages go; - reads it from standard input.", metavar="URL")]
_OPTIONS = {
    "event_types": Annotated[list[Event] | None, option("What is told; may be given several times.", "--event", "-e")],
    "description": Annotated[str | None, option("What it is for.")],
    "account_ids": Annotated[
        list[int] | None,
        option("Whose events, 0: those of all accounts; may be given several times.", "--account", min=0),
    ],
    "quiet_hours": Annotated[str | None, option("When nothing is sent, such as '22:00-08:00 Asia/Shanghai'.")],
    "digest": Annotated[
        float | None,
        option("How long events are gathered into one message, up to 1d.", parser=values.seconds, metavar="DURATION"),
    ],
    "language": Annotated[Language | None, option("Of its messages.")],
}
Active = Annotated[bool | None, option("Whether anything is sent.", "--active/--inactive")]

command = Commands()


def _settings(_: Session, values: dict[str, Any]) -> dict[str, Any]:
    """Returns the client's arguments of the options that were given. An account 0 is all: none."""
    given = {name: value for name, value in values.items() if value not in (None, [])}
    if "account_ids" in given:
        given["account_ids"] = [account_id for account_id in given["account_ids"] if account_id]
    return given


with_settings = stands_for("settings", _OPTIONS, _settings)
"""The parameter `settings` of a command becomes the options of a channel."""


@command(
    "create",
    "contentgen channel create feishu://0123456789abcdef --language zh_CN",
    "contentgen channel create slack://TOKEN_A/TOKEN_B/TOKEN_C -e task.failed --digest 1h",
)
@with_settings
def create(session: Session, url: Url, *, settings: Mapping[str, Any]) -> None:
    """Tell people in a chat or by mail; without --event of articles that wait, failed publications and tasks.

    The address is not shown again.
    """
    told = {"event_types": ["content.pending_review", "publish.failed", "task.failed"], **settings}
    session.output.one(document(session.client.create_channel(_address(url), **told)), tables.channel)


def _address(url: str) -> str:
    return typer.get_text_stream("stdin").readline().strip() if url == "-" else url


@command("list", "contentgen channel list", "contentgen -o jsonl channel list | jq 'select(.last_error != null)'")
def list_(session: Session, limit: Limit = None, all_: All = False, page_token: PageToken = "") -> None:
    """List channels by their id, inactive ones too."""
    channels = session.client.iter_channels()
    write_list(session, channels, tables.CHANNELS, "channels", limit, all_, page_token, below=tables.last_error)


@command(
    "update", "contentgen channel update 3 --inactive", "contentgen channel update 3 --digest 30m --quiet-hours ''"
)
@with_settings
def update(
    session: Session,
    channel_id: ChannelId,
    *,
    url: NewUrl = None,
    settings: Mapping[str, Any],
    active: Active = None,
) -> None:
    """Change a channel: only what is given. The events and accounts that are given replace the present ones."""
    changes = {"url": _address(url) if url else None, "active": active, **settings}
    session.output.one(document(session.client.update_channel(channel_id, **changes)), tables.channel)


@command("delete", "contentgen channel delete 3")
def delete(session: Session, channel_ids: ChannelIds, yes: Yes = False) -> int:
    """Delete channels with what is held for them. On a terminal it prompts before that."""
    delete_channel = session.client.delete_channel
    return lists.delete(session, "channel", channel_ids, delete_channel, "channel {channel_id} is deleted", yes=yes)


@command("test", "contentgen channel test 3")
def test(session: Session, channel_id: ChannelId) -> int:
    """Send a test message now, and show how that went; exit status 1 if it failed."""
    answer = document(session.client.test_channel(channel_id))
    session.output.one(answer, tables.tested)
    return Status.DONE if answer["delivered"] else Status.FAILED
