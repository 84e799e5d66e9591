"""Where the schedulers are and how they are called: address, TLS and token, as given or from the environment.

Layer: client, below the transports. The command reads its flags and contexts by it, too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NotRequired, Self, TypedDict

import grpc

TOKEN = re.compile(r"[!-~]+")
"""A token that gRPC can send."""
PORT = 50051
DEFAULT_SCHEDULER = f"127.0.0.1:{PORT}"

_SCHEME = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds):")
_HOST = re.compile(r"\[[0-9A-Fa-f:.%\w]+\]|[\w.-]+")
_ADDRESS = re.compile(rf"({_HOST.pattern}):([0-9]{{1,5}})")


@dataclass(frozen=True, slots=True)
class Tls:
    """The PEM documents of a connection by TLS. None means that one is not given."""

    ca: bytes | None
    cert: bytes | None
    key: bytes | None


class Person(TypedDict):
    """For whom a call with a token that delegates is made. The audit shows the name."""

    name: str
    role: str
    """As in the tokens file, such as `reviewer`; its rights are at most those of the token."""
    accounts: NotRequired[list[int]]
    """The accounts that the person is tied to. Left out: all."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the schedulers are, and how they are called; nothing is dialled yet."""

    scheduler: str
    token: str | None
    tls: Tls | None
    from_environment: bool = True
    given_credentials: grpc.ChannelCredentials | None = None

    @classmethod
    def given(cls, target: str | None, token: str | None, credentials: grpc.ChannelCredentials | None) -> Self:
        """What is given wins over the environment, which counts only where no target is given. Raises as `of`."""
        if target is not None:
            return cls(_with_ports(target), token, None, from_environment=False, given_credentials=credentials)
        environment = cls.of({"CONTENTGEN_TOKEN": token})
        return replace(environment, given_credentials=credentials)

    @classmethod
    def of(cls, flags: Mapping[str, str | None], context: Mapping[str, str] | None = None) -> Self:
        """A flag wins over its variable, and that over the context; an empty variable counts as unset.

        Args:
            flags: by the name of their variable; None: not given.
            context: settings of a context by the name of their variable; None: there is none.

        Raises:
            ValueError: no address, no token, or a file that can't be read.
        """

        def value(variable: str) -> str | None:
            return flags.get(variable) or os.environ.get(variable) or (context or {}).get(variable) or None

        scheduler = _with_ports(value("CONTENTGEN_SCHEDULER") or DEFAULT_SCHEDULER)
        _check(scheduler)
        ca, cert, key = (_pem(name, value(name)) for name in _TLS_VARIABLES)
        if (cert is None) != (key is None):
            raise ValueError("CONTENTGEN_TLS_CLIENT_CERT and CONTENTGEN_TLS_CLIENT_KEY go together: set both")
        if cert is not None and ca is None:
            raise ValueError("CONTENTGEN_TLS_CLIENT_CERT requires CONTENTGEN_TLS_CA, without which there is no TLS")
        token = _token(*_given_or_else(("CONTENTGEN_TOKEN", "CONTENTGEN_TOKEN_FILE"), flags, context or {}))
        return cls(scheduler, token, Tls(ca, cert, key) if ca is not None else None)

    @property
    def addresses(self) -> Sequence[str]:
        """One gRPC target, or plain addresses in the order in which they are tried."""
        return [self.scheduler] if _SCHEME.match(self.scheduler) else self.scheduler.split(",")

    @property
    def as_one(self) -> str:
        """One gRPC target for all addresses. Raises ValueError for names, of which gRPC takes one."""
        if len(self.addresses) == 1:
            return self.scheduler
        for scheme, pattern in (("ipv4", r"[\d.]+:\d+"), ("ipv6", r"\[.+\]:\d+")):
            if all(re.fullmatch(pattern, address) for address in self.addresses):
                return f"{scheme}:{self.scheduler}"
        raise ValueError(f"{self.scheduler!r} should be one name for all schedulers, or numeric addresses by comma")

    @property
    def credentials(self) -> grpc.ChannelCredentials | None:
        """None: plaintext."""
        if self.given_credentials or self.tls is None:
            return self.given_credentials
        return grpc.ssl_channel_credentials(self.tls.ca, self.tls.key, self.tls.cert)


_TLS_VARIABLES = ("CONTENTGEN_TLS_CA", "CONTENTGEN_TLS_CLIENT_CERT", "CONTENTGEN_TLS_CLIENT_KEY")


def _with_ports(scheduler: str) -> str:
    """Gives plain hosts the schedulers' port unless they have one; any other target stays as it is."""
    if _SCHEME.match(scheduler):
        return scheduler
    addresses = [address.strip() for address in scheduler.split(",")]
    return ",".join(f"{address}:{PORT}" if _HOST.fullmatch(address) else address for address in addresses)


def _check(scheduler: str) -> None:
    if _SCHEME.match(scheduler):
        return
    for address in scheduler.split(","):
        match = _ADDRESS.fullmatch(address)
        if not (match and 0 < int(match[2]) < 65_536):
            raise ValueError(
                f"{address!r} is no scheduler: give host:port, several of them by comma, or a gRPC target"
                " (--scheduler or CONTENTGEN_SCHEDULER)"
            )


def _token(token: str | None, path: str | None) -> str | None:
    """Returns the token, from variable or file. Neither is repeated: where a path should be, the token may be."""
    if path is None:
        return _checked(token, "CONTENTGEN_TOKEN") if token else None
    if token is not None:
        raise ValueError("CONTENTGEN_TOKEN and CONTENTGEN_TOKEN_FILE exclude each other: unset one of them")
    try:
        contents = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise ValueError(f"CONTENTGEN_TOKEN_FILE should be a readable file: {error.strerror}") from None
    return _checked(contents.decode("utf-8", "replace").strip(), "CONTENTGEN_TOKEN_FILE")


def _given_or_else(
    names: Sequence[str], flags: Mapping[str, str | None], context: Mapping[str, str]
) -> Sequence[str | None]:
    """Returns settings that exclude each other: those of the context only if nothing else says one."""
    settings = [flags.get(name) or os.environ.get(name) or None for name in names]
    return settings if any(settings) else [context.get(name) for name in names]


def _checked(token: str, source: str) -> str:
    if not TOKEN.fullmatch(token):
        raise ValueError(f"{source} should hold one token and nothing else, in characters of ASCII")
    return token


def _pem(variable: str, path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise ValueError(f"{variable}={path} should be a PEM file that can be read: {error.strerror}") from None
