"""Certificates and tokens."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import StatusCode, aio

from contentgen.rpcs import METHODS, PERSON
from scheduler_svc.config.tokens import TokenLine, hash_of
from tests.harness.waiting import PATIENCE_S

# Certificates for the tests of TLS, made by openssl.


def make_certificates(folder: Path) -> None:
    """Makes an authority `ca`, certificates `server` (for 127.0.0.1) and `client` of it, and `other` of its own."""
    _make(folder, "ca")
    _make(folder, "server", issuer="ca")
    _make(folder, "client", issuer="ca")
    _make(folder, "other")


def make_signed(folder: Path, name: str, *, days: int = 20, host: str = "IP:127.0.0.1") -> None:
    """Makes a certificate `name` of the authority `ca` for `host`; with 0 days it has expired."""
    _make(folder, name, issuer="ca", valid=f"-days {days}" if days else _EXPIRED, host=host)


_EXPIRED = "-not_before 20250101000000Z -not_after 20260101000000Z"  # OpenSSL 3.4 or newer


def _make(folder: Path, name: str, issuer: str = "", *, valid: str = "-days 20", host: str = "IP:127.0.0.1") -> None:
    signed = f"-CA {issuer}.pem -CAkey {issuer}.key" if issuer else ""
    command = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes {valid} -subj /CN={name} {signed}"
        f" -addext subjectAltName={host} -keyout {name}.key -out {name}.pem"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)


def shown_on(port: int) -> bytes:
    """Returns the certificate that a new connection to a port of this machine gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain, context.wrap_socket(plain) as secure:
        return secure.getpeercert(binary_form=True) or b""


# Callers with tokens: a tokens file, and calls of any RPC that the descriptors know, by name and with plain fields.


def line(
    name: str, role: str, accounts: Sequence[int] | None = None, token: str = "", *, delegates: bool = False
) -> str:
    """Returns a line of a tokens file; the default token is `NAME-token`."""
    tied = None if accounts is None else tuple(accounts)
    return TokenLine(name, hash_of(token or f"{name}-token"), role, tied, delegates).json()


def write(path: Path, *lines: str) -> Path:
    """Replaces a tokens file atomically with these lines."""
    new = path.with_suffix(".new")
    new.write_text("".join(f"{text}\n" for text in lines))
    return new.replace(path)


def _bytes(message: Message) -> bytes:
    return message.SerializeToString()


class Caller:
    def __init__(self, channel: aio.Channel, token: str = "", person: bytes | None = None) -> None:
        """`person`: for whom it calls."""
        self._channel = channel
        self._metadata: tuple[tuple[str, str | bytes], ...] = (("authorization", f"Bearer {token}"),) if token else ()
        if person is not None:
            self._metadata += ((PERSON, person),)

    async def __call__(self, rpc: str, **fields: Any) -> dict[str, Any]:
        """Returns the answer, or the first one of a stream. Raises AioRpcError."""
        method = METHODS[rpc]
        request = json_format.ParseDict(fields, GetMessageClass(method.input_type)())
        path = f"/{method.containing_service.full_name}/{method.name}"
        # The request goes out with the call, also where the server would take more: one that it refuses at once is then
        # told why, while a message that is written to a call that is over makes gRPC tell of an error of its own.
        call = self._channel.unary_stream(
            path, request_serializer=_bytes, response_deserializer=GetMessageClass(method.output_type).FromString
        )(request, timeout=PATIENCE_S, metadata=self._metadata)
        async with asyncio.timeout(PATIENCE_S):
            response: Any = await call.read()
        if response is aio.EOF:
            raise aio.AioRpcError(
                await call.code(), await call.initial_metadata(), await call.trailing_metadata(), await call.details()
            )
        call.cancel()
        return json_format.MessageToDict(response, preserving_proto_field_name=True)

    async def refused(self, status: StatusCode) -> bool:
        """Whether a call is refused with this status. Raises AioRpcError with any other."""
        try:
            await self("AccountService/ListAccounts")
        except aio.AioRpcError as error:
            if error.code() is not status:
                raise
            return True
        return False
