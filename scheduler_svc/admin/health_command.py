"""`contentgen-scheduler health`: whether a scheduler serves, for the health checks of containers.

Layer: beside `replica`. It imports little, because it runs every few seconds.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from contentgen.certificates import first_name
from contentgen.service.settings import SettingsError
from contentgen.service.values import Address
from scheduler_svc.config import Settings, settings_of

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it would say of a refused connection, we say

HEALTHY = 0
UNHEALTHY = 1
_DEFAULT_TIMEOUT = 3.0
_DESCRIPTION = """\
Asks a scheduler whether it serves: by default the one on this machine that CONTENTGEN_LISTEN names. It does not while
its database is away, its work stands still, or it drains. The call needs no token.

  contentgen-scheduler health
  contentgen-scheduler health --target scheduler-2.example.com:50051

Of this machine's scheduler the certificate must be that of CONTENTGEN_TLS_CERT. Of a --target it must be one of
CONTENTGEN_TLS_CA, for that name; unset: plaintext. Where client certificates are required, CONTENTGEN_TLS_CLIENT_CERT
and CONTENTGEN_TLS_CLIENT_KEY are shown; unset: those of the scheduler, if their authority issues both.

Exit status: 0 it serves, 1 it does not, can't be reached, or the settings are wrong: standard error has the reason.
"""


class _Unhealthy(Exception):
    """The scheduler is not healthy; the message has the reason."""


def main() -> None:
    """Runs the command with the arguments of the process."""
    sys.exit(health_command(sys.argv[2:]))


def health_command(arguments: Sequence[str]) -> int:
    parser = ArgumentParser(
        prog="contentgen-scheduler health",
        description=_DESCRIPTION,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--target", type=_address, metavar="HOST:PORT", help="another scheduler")
    parser.add_argument("--timeout", type=float, default=_DEFAULT_TIMEOUT, metavar="SECONDS", help="default: 3")
    options = parser.parse_args(arguments)
    try:
        _check(options.target, options.timeout)
    except _Unhealthy as error:
        sys.stderr.write(f"{error}\n")
    except (SettingsError, OSError) as error:
        sys.stderr.write(f"the scheduler can't be asked: {error}\n")
    else:
        print("SERVING")
        return HEALTHY
    return UNHEALTHY


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def _check(target: Address | None, timeout: float) -> None:
    """Asks the scheduler for its health. Raises _Unhealthy, SettingsError, OSError."""
    with _channel(target) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        try:
            answer = check(HealthCheckRequest(), timeout=timeout)
        except grpc.RpcError as error:
            raise _Unhealthy(f"{error.code().name}: {error.details()}") from None
    if answer.status != HealthCheckResponse.SERVING:
        raise _Unhealthy(HealthCheckResponse.ServingStatus.Name(answer.status))


def _channel(target: Address | None) -> grpc.Channel:
    if target is not None:
        ca = _file("CONTENTGEN_TLS_CA")
        if ca is None:
            return grpc.insecure_channel(str(target))
        return grpc.secure_channel(str(target), grpc.ssl_channel_credentials(ca, *_identity(None)))
    settings = settings_of({})
    address = _local(settings.listen)
    if settings.tls_cert is None:
        return grpc.insecure_channel(str(address))
    cert = settings.tls_cert.read_bytes()
    credentials = grpc.ssl_channel_credentials(cert, *_identity(settings))
    return grpc.secure_channel(str(address), credentials, [("grpc.ssl_target_name_override", _a_name_in(cert))])


def _local(listen: Address) -> Address:
    """Returns where this machine reaches a listening address. Raises SettingsError for a port that is not known."""
    if not listen.port:
        raise SettingsError([f"CONTENTGEN_LISTEN={listen} leaves the port to the system: give --target, from its log"])
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)  # noqa: S104 - it is not listened on
    return Address(host, listen.port)


def _identity(settings: Settings | None) -> tuple[bytes | None, bytes | None]:
    """Returns the key and the certificate to show; each is None if it is not set."""
    key, cert = _file("CONTENTGEN_TLS_CLIENT_KEY"), _file("CONTENTGEN_TLS_CLIENT_CERT")
    if key or settings is None or not (settings.tls_client_ca and settings.tls_key and settings.tls_cert):
        return key, cert
    return settings.tls_key.read_bytes(), settings.tls_cert.read_bytes()


def _file(variable: str) -> bytes | None:
    path = os.environ.get(variable)
    return Path(path).read_bytes() if path else None


def _a_name_in(pem: bytes) -> str:
    """Returns a name that the certificate is for: it is trusted by itself, whatever its names. Raises SettingsError."""
    if name := first_name(pem):
        return name.replace("*", "any")
    raise SettingsError(["CONTENTGEN_TLS_CERT: must be a certificate with the names that it is for"])
