"""The connection of a command to its scheduler: the one that is there, of several."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Self

import grpc
import typer

from contentgen.client.blocking import BlockingTransport
from contentgen.client.client import MessageMethods
from contentgen.client.connection import open_channel
from contentgen.client.target import Target
from contentgen.client.transport import Metadata

CALL_TIMEOUT = 10.0
"""Seconds that a call may take, beyond its own wait."""
CONNECT_TIMEOUT = 3.0
"""Seconds for one of several addresses to answer, before the next is tried."""

_SENDABLE = re.compile(r"[ -~]+")


def target_of(flags: Mapping[str, str | None], context: Mapping[str, str] | None = None) -> Target:
    """Returns what `Target.of` does. Raises BadParameter for what is wrong."""
    try:
        return Target.of(flags, context)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


class Connection:
    """A connection to the schedulers at a target.

    Attributes:
        client: the client's methods, which return messages here, and raise RequestError.
        transport: what they stand on.
    """

    def __init__(self, target: Target, timeout: float = CALL_TIMEOUT, account_id: int = 0) -> None:
        """Connects at the first call; where there are several addresses, now, to the first that answers.

        `timeout`: seconds that a call may take, beyond its own wait. `account_id`: as of a transport.
        """
        self.target = target
        self._account_id = account_id
        self.channel = self._open()
        self.transport = self._transport_with(target.token, timeout)
        self.client = MessageMethods(self.transport)

    def client_without_token(self) -> MessageMethods:
        return MessageMethods(self._transport_with(None, self.transport.timeout))

    def _transport_with(self, token: str | None, timeout: float) -> BlockingTransport:
        transport = BlockingTransport(
            self.channel, owned=False, token=token, timeout=timeout, target=self.target, span=_span
        )
        transport.account_id = self._account_id
        return transport

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.channel.close()

    def _open(self) -> grpc.Channel:
        *others, last = self.target.addresses
        for address in others:
            channel = self._dial(address)
            if _ready(channel):
                return channel
            channel.close()
        return self._dial(last)

    def _dial(self, address: str) -> grpc.Channel:
        return open_channel(address, self.target.credentials)


def _span() -> Metadata:
    """Returns the span that this command belongs to, by the variables of W3C Trace Context."""
    variables = {name.lower(): os.environ.get(name, "") for name in ("TRACEPARENT", "TRACESTATE")}
    return tuple((name, value) for name, value in variables.items() if _SENDABLE.fullmatch(value))


def _ready(channel: grpc.Channel) -> bool:
    ready = grpc.channel_ready_future(channel)
    try:
        ready.result(timeout=CONNECT_TIMEOUT)
    except grpc.FutureTimeoutError:
        ready.cancel()
        return False
    return True
