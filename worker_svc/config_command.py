"""The command `contentgen-worker config check`: what the settings are, and everything that is wrong with them.

Layer: below main, above session.

Exit statuses: 0 all is right, 2 wrong usage, 78 something is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import socket
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import (
    SecretStr,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from worker_svc import creators
from worker_svc.config import (
    EXIT_CONFIG,
    FlagParser,
    SettingsError,
    WorkerSettings,
    add_setting_flags,
    addresses,
    flag_names,
    given_settings,
    make_settings,
)
from worker_svc.creators.base import CreatorSettings
from worker_svc.environment import notices, variables_for_cli
from worker_svc.otel_settings import exports_traces
from worker_svc.session.credentials import Credentials, earliest_expiry

EXIT_USAGE = 2
CALL_TIMEOUT = 5.0
"""Seconds that a scheduler may take to answer."""

_DESCRIPTION = """\
Reads all settings as a start would, and the files that they name: token, certificates and their key, the data folder,
the creator CLI. Prints each setting with its value and where that comes from, secrets not shown, then everything that
is wrong, each with what it should be. It changes nothing; a worker may run on the same folder meanwhile."""
_EPILOG = """\
examples:
  contentgen-worker config check                 before a start, as ExecStartPre= of a unit
  contentgen-worker config check --connect       also asks each scheduler whether it serves

It does not run the CLI: `contentgen-worker try --topic=TEXT` does. Whether the token is known only a start tells.

exit statuses:
  0   all is right
  2   wrong usage
  78  something is wrong. An expired certificate is, though a worker starts with it"""

_SERVING = b"\x08\x01"
"""A HealthCheckResponse with the status SERVING, as the wire has it: a worker has no generated code for it."""


class ValidSettings(WorkerSettings):
    """Settings where an invalid value counts as its default. Not to run with."""

    @field_validator("*", mode="wrap")
    @classmethod
    def _or_default(cls, value: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        try:
            return validate(value)
        except ValueError:
            return WorkerSettings.model_fields[str(info.field_name)].default

    @model_validator(mode="after")
    def _whole_identity(self) -> ValidSettings:
        return self


def run(argv: Sequence[str]) -> int:
    """Runs the command with the arguments after `config`, and returns its exit status."""
    try:
        flags, connect = _parse(argv)
    except SettingsError as error:
        print(f"contentgen-worker config: {error}", file=sys.stderr)  # noqa: T201 - a command prints
        return EXIT_USAGE
    problems, invalid = _invalid(flags)
    settings = ValidSettings(**flags)  # type: ignore[arg-type] # texts, as the environment gives them
    problems += [it for it in settings.conflicts() if it not in problems and not any(name in it for name in invalid)]
    findings: dict[str, str] = {}
    for check in (_files(settings, findings), _folder(settings), _cli(settings, findings)):
        problems += check
    try:
        exports_traces(os.environ)
    except SettingsError as error:
        problems += error.problems
    if connect and not problems:
        problems += asyncio.run(_unreachable(settings, findings))
    _show(settings, flags, findings, invalid)
    for text in (*(f"note: {it}" for it in _notes(settings)), *(f"problem: {it}" for it in problems)):
        print(text, file=sys.stderr)  # noqa: T201
    count = f"{len(problems)} problem{'s' * (len(problems) != 1)}"
    print(count if problems else "all settings are right")  # noqa: T201
    return EXIT_CONFIG if problems else 0


def _parse(argv: Sequence[str]) -> tuple[dict[str, str], bool]:
    """Returns the settings given as flags, and whether to connect. Raises SettingsError; `--help` exits 0."""
    parser = FlagParser(
        prog="contentgen-worker config",
        usage="contentgen-worker config check [--connect] [--setting=value ...]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("check",), metavar="check", help="the only command")
    parser.add_argument("--connect", action="store_true", help="if all else is right, ask each scheduler too")
    add_setting_flags(parser)
    found, unknown = parser.parse_known_args(argv)
    if unknown:
        raise SettingsError([f"{name}: no such setting; --help lists them" for name in flag_names(unknown)])
    return given_settings(found), found.connect


def _invalid(flags: Mapping[str, str]) -> tuple[list[str], frozenset[str]]:
    """What a start would refuse, and the variables that are invalid each by itself."""
    try:
        make_settings(flags)
    except SettingsError as error:
        return list(error.problems), frozenset(_names_of_invalid(flags))
    return [], frozenset()


def _names_of_invalid(flags: Mapping[str, str]) -> Iterator[str]:
    try:
        WorkerSettings(**flags)  # type: ignore[arg-type] # texts, as the environment gives them
    except ValidationError as error:
        yield from (str(detail["loc"][0]) for detail in error.errors() if detail["loc"])


def _files(settings: WorkerSettings, findings: dict[str, str]) -> Iterator[str]:
    """Whether the token and the PEM files can be read, belong together and have not expired."""
    try:
        if not settings.conflicts():
            Credentials(settings)
    except SettingsError as error:
        yield from error.problems
    now = datetime.now(UTC)
    for variable, path in (
        ("CONTENTGEN_TLS_CA", settings.tls_ca),
        ("CONTENTGEN_TLS_CLIENT_CERT", settings.tls_client_cert),
    ):
        if (end := _expiry(path)) is None:
            continue
        expired = end <= now
        findings[variable] = text = f"{'expired' if expired else 'expires'} on {end:%Y-%m-%d %H:%M} UTC"
        if expired:
            yield f"{variable}={path}: should hold valid certificates only, and one {text}: replace the file"


def _expiry(path: Path | None) -> datetime | None:
    """When the first of its certificates expires. Returns None for what can't be read, which is told otherwise."""
    try:
        return earliest_expiry(path.read_bytes()) if path else None
    except OSError:
        return None


def _folder(settings: WorkerSettings) -> Iterator[str]:
    """Whether the data folder can be written, or made."""
    folder = settings.data_dir.expanduser().absolute()
    present = next(each for each in (folder, *folder.parents) if each.exists())
    if not (present.is_dir() and os.access(present, os.W_OK | os.X_OK)):
        yield (
            f"CONTENTGEN_DATA_DIR={folder}: should be a folder that this user can write or make, and {present} is not:"
            " name another one, or change its owner"
        )


def _cli(settings: WorkerSettings, findings: dict[str, str]) -> Iterator[str]:
    path = settings.creator_cli_path
    if found := shutil.which(path):
        findings["CREATOR_CLI_PATH"] = f"found, {Path(found).absolute()}"
    else:
        yield (
            f"CREATOR_CLI_PATH={path}: should be a program that can be run, by its path or by a name on the PATH, and"
            " there is none: install the creator CLI, or name it"
        )
    try:
        variables_for_cli(_names_for_cli(settings), os.environ)
    except SettingsError as error:
        yield from error.problems


def _names_for_cli(settings: WorkerSettings) -> tuple[str, ...]:
    limits = CreatorSettings(settings.creator_poll_interval, settings.creator_max_result)
    return (*creators.load(settings.creator_profile, limits).needs.inherited, *settings.creator_env)


def _notes(settings: WorkerSettings) -> Iterator[str]:
    yield from notices(os.environ)
    for name in settings.creator_env:
        if not {name, f"{name}_FILE"} & os.environ.keys():
            yield f"CREATOR_ENV names {name}, which is not set: the CLI does not get it"


async def _unreachable(settings: WorkerSettings, findings: dict[str, str]) -> list[str]:
    """Asks each scheduler for its health, as it is reached with these settings."""
    from worker_svc.session.channel import Dialer

    problems: list[str] = []
    if settings.metrics_listen:
        problems += _unresolved(settings.metrics_listen.rpartition(":")[0].strip("[]"))
    dialer = Dialer(settings.scheduler, Credentials(settings))
    for address in addresses(settings.scheduler):
        async with dialer.channel(address, CALL_TIMEOUT) as channel:
            problems += await _not_serving(address, channel)
    if not problems:
        findings["CONTENTGEN_SCHEDULER"] = "serves"
    return problems


async def _not_serving(address: str, channel: Any) -> list[str]:
    import grpc

    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    try:
        answer = await check(b"", timeout=CALL_TIMEOUT)
    except grpc.RpcError as error:
        said = f"{error.code().name}: {error.details()}"
        return [
            f"CONTENTGEN_SCHEDULER: {address} should answer, and does not ({said}): correct it, or start a scheduler"
        ]
    if answer != _SERVING:
        return [f"CONTENTGEN_SCHEDULER: {address} should serve, and does not: look at its log and its database"]
    return []


def _unresolved(host: str) -> Iterator[str]:
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        yield f"CONTENTGEN_METRICS_LISTEN: {host} should be a name that resolves here ({error.strerror})"


def _show(
    settings: WorkerSettings, flags: Mapping[str, str], findings: Mapping[str, str], invalid: Container[str]
) -> None:
    for name, field in WorkerSettings.model_fields.items():
        variable = str(field.alias)
        given = name in settings.model_fields_set
        source = "flag" if variable in flags else "environment" if given else "default"
        text = "invalid" if variable in invalid else _text(getattr(settings, name))
        found = f": {findings[variable]}" if variable in findings else ""
        print(f"{variable}={text} ({source}){found}")  # noqa: T201


def _text(value: object) -> str:
    match value:
        case None:
            return "unset"
        case SecretStr():
            return "set, not shown"
        case bool():
            return "on" if value else "off"
        case float():
            return f"{value:g}s"
        case tuple():
            return ",".join(value) or "unset"
        case _:
            return str(value)
