"""Which scheduler a command talks to, and how: address, TLS and token, from flags and the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import grpc
import typer

from contentgen.client.blocking import BlockingTransport
from contentgen.client.client import MessageMethods
from contentgen.client.connection import open_channel
from contentgen.client.transport import TOKEN, Metadata

DEFAULT_SCHEDULER = "127.0.0.1:50051"
CALL_TIMEOUT = 10.0
"""Seconds that a call may take, beyond its own wait."""
CONNECT_TIMEOUT = 3.0
"""Seconds for one of several addresses to answer, before the next is tried."""

_SCHEME = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds):")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.%\w]+\]|[\w.-]+):([0-9]{1,5})")
_SENDABLE = re.compile(r"[ -~]+")


@dataclass(frozen=True, slots=True)
class Tls:
    """The PEM documents of a connection by TLS. None means that one is not given."""

    ca: bytes | None
    cert: bytes | None
    key: bytes | None


@dataclass(frozen=True, slots=True)
class Target:
    """What the flags and the environment say; nothing is dialled yet."""

    scheduler: str
    token: str | None
    tls: Tls | None

    @classmethod
    def of(cls, flags: Mapping[str, str | None], context: Mapping[str, str] | None = None) -> Self:
        """A flag wins over its variable, and that over the context; an empty variable counts as unset.

        Args:
            flags: by the name of their variable; None: not given.
            context: settings of a context by the name of their variable; None: there is none.

        Raises:
            typer.BadParameter: no address, no token, or a file that can't be read.
        """

        def value(variable: str) -> str | None:
            return flags.get(variable) or os.environ.get(variable) or (context or {}).get(variable) or None

        scheduler = value("CONTENTGEN_SCHEDULER") or DEFAULT_SCHEDULER
        _check(scheduler)
        ca, cert, key = (_pem(name, value(name)) for name in _TLS_VARIABLES)
        if (cert is None) != (key is None):
            raise typer.BadParameter("CONTENTGEN_TLS_CLIENT_CERT and CONTENTGEN_TLS_CLIENT_KEY go together: set both")
        if cert is not None and ca is None:
            raise typer.BadParameter(
                "CONTENTGEN_TLS_CLIENT_CERT requires CONTENTGEN_TLS_CA, without which there is no TLS"
            )
        token = _token(*_given_or_else(("CONTENTGEN_TOKEN", "CONTENTGEN_TOKEN_FILE"), flags, context or {}))
        return cls(scheduler, token, Tls(ca, cert, key) if ca is not None else None)

    @property
    def addresses(self) -> Sequence[str]:
        """One gRPC target, or plain addresses in the order in which they are tried."""
        if _SCHEME.match(self.scheduler):
            return [self.scheduler]
        return [address.strip() for address in self.scheduler.split(",")]


_TLS_VARIABLES = ("CONTENTGEN_TLS_CA", "CONTENTGEN_TLS_CLIENT_CERT", "CONTENTGEN_TLS_CLIENT_KEY")


def _check(scheduler: str) -> None:
    if _SCHEME.match(scheduler):
        return
    for address in scheduler.split(","):
        match = _ADDRESS.fullmatch(address.strip())
        if not (match and 0 < int(match[2]) < 65_536):
            raise typer.BadParameter(
                f"{address.strip()!r} is no scheduler: give host:port, several of them by comma, or a gRPC target"
                " (--scheduler or CONTENTGEN_SCHEDULER)"
            )


def _token(token: str | None, path: str | None) -> str | None:
    """Returns the token, from variable or file. Neither is repeated: where a path should be, the token may be."""
    if path is None:
        return _checked(token, "CONTENTGEN_TOKEN") if token else None
    if token is not None:
        raise typer.BadParameter("CONTENTGEN_TOKEN and CONTENTGEN_TOKEN_FILE exclude each other: unset one of them")
    try:
        contents = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"CONTENTGEN_TOKEN_FILE should be a readable file: {error.strerror}") from None
    return _checked(contents.decode("utf-8", "replace").strip(), "CONTENTGEN_TOKEN_FILE")


def _given_or_else(
    names: Sequence[str], flags: Mapping[str, str | None], context: Mapping[str, str]
) -> Sequence[str | None]:
    """Returns settings that exclude each other: those of the context only if nothing else says one."""
    settings = [flags.get(name) or os.environ.get(name) or None for name in names]
    return settings if any(settings) else [context.get(name) for name in names]


def _checked(token: str, source: str) -> str:
    if not TOKEN.fullmatch(token):
        raise typer.BadParameter(f"{source} should hold one token and nothing else, in characters of ASCII")
    return token


def _pem(variable: str, path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{variable}={path} should be a PEM file that can be read: {error.strerror}") from None


class Connection:
    """A connection to the schedulers at a target.

    Attributes:
        client: the client's methods, which return messages here, and raise RequestError.
        transport: what they stand on.
    """

    def __init__(self, target: Target, timeout: float = CALL_TIMEOUT) -> None:
        """Connects at the first call; where there are several addresses, now, to the first that answers.

        `timeout`: seconds that a call may take, beyond its own wait.
        """
        self.target = target
        self.channel = self._open()
        self.transport = self._transport_with(target.token, timeout)
        self.client = MessageMethods(self.transport)

    def client_with(self, token: str | None) -> MessageMethods:
        return MessageMethods(self._transport_with(token, self.transport.timeout))

    def _transport_with(self, token: str | None, timeout: float) -> BlockingTransport:
        return BlockingTransport(self.channel, owned=False, token=token, timeout=timeout, span=_span)

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
        tls = self.target.tls
        return open_channel(address, grpc.ssl_channel_credentials(tls.ca, tls.key, tls.cert) if tls else None)


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
