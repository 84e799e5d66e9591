"""`contentgen-console config check`: what the settings are, and everything that is wrong with them.

Exit statuses: 0 all is right, 2 wrong usage, 78 something is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import grpc
from pydantic import ValidationError, ValidationInfo, ValidatorFunctionWrapHandler, field_validator, model_validator

from console_svc.certificates import expiries, unusable
from console_svc.config import (
    EXIT_CONFIG,
    Address,
    ConsoleSettings,
    SettingsError,
    add_setting_flags,
    given_settings,
    make_settings,
    notices,
)
from console_svc.web.schedulers import Schedulers

CALL_TIMEOUT = 5.0
"""Seconds that a scheduler may take to answer."""

_DESCRIPTION = """\
Reads all settings as a start would, and the certificates and keys that they name. Prints each setting with its value
and where that comes from, then everything that is wrong, each with what it should be. It changes nothing, and listens
on no address; a console may run meanwhile."""
_EPILOG = """\
examples:
  contentgen-console config check                 before a start, as ExecStartPre= of a unit
  contentgen-console config check --connect       also resolves names, and asks whether a scheduler serves

exit statuses:
  0   all is right
  2   wrong usage
  78  something is wrong. An expired certificate is, though a console starts with it"""


class ValidSettings(ConsoleSettings):
    """Settings where an invalid value counts as its default, fitting together or not. Not to serve with."""

    @field_validator("*", mode="wrap")
    @classmethod
    def _or_default(cls, value: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        try:
            return validate(value)
        except ValueError:
            return ConsoleSettings.model_fields[str(info.field_name)].default

    @model_validator(mode="after")
    def _whole(self) -> ValidSettings:
        return self


def run(arguments: Sequence[str]) -> int:
    """Runs the command with the arguments after `config`, and returns its exit status. Wrong usage exits 2."""
    parsed = _parser().parse_args(arguments)
    flags = given_settings(parsed)
    problems, invalid = _invalid(flags)
    settings = ValidSettings(**flags)  # type: ignore[arg-type] # texts, as the environment gives them
    problems += [it for it in settings.conflicts() if it not in problems and not any(name in it for name in invalid)]
    findings: dict[str, str] = {}
    for check in (unusable(settings), _expired(settings, findings), _ports(settings)):
        problems += check
    if parsed.connect and not problems:
        problems += [*_unresolved(settings), *asyncio.run(_unreachable(settings, findings))]
    _show(settings, flags, findings, invalid)
    for text in (*(f"note: {it}" for it in notices(os.environ)), *(f"problem: {it}" for it in problems)):
        print(text, file=sys.stderr)
    print(f"{len(problems)} problem{'s' * (len(problems) != 1)}" if problems else "all settings are right")
    return EXIT_CONFIG if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="contentgen-console config",
        usage="contentgen-console config check [--connect] [--setting=value ...]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("check",), metavar="check", help="the only command")
    parser.add_argument(
        "--connect", action="store_true", help="if all else is right, resolve names and ask a scheduler too"
    )
    add_setting_flags(parser)
    return parser


def _invalid(flags: Mapping[str, str]) -> tuple[list[str], frozenset[str]]:
    """What a start would refuse, and the variables that are invalid each by itself."""
    try:
        make_settings(flags)
    except SettingsError as error:
        return list(error.problems), frozenset(_names_of_invalid(flags))
    return [], frozenset()


def _names_of_invalid(flags: Mapping[str, str]) -> Iterator[str]:
    try:
        ConsoleSettings(**flags)  # type: ignore[arg-type] # texts, as the environment gives them
    except ValidationError as error:
        yield from (str(detail["loc"][0]) for detail in error.errors() if detail["loc"])


def _expired(settings: ConsoleSettings, findings: dict[str, str]) -> Iterator[str]:
    now = datetime.now(UTC)
    for variable, path, end in expiries(settings):
        expired = end <= now
        findings[variable] = text = f"{'expired' if expired else 'expires'} on {end:%Y-%m-%d %H:%M} UTC"
        if expired:
            yield f"{variable}={path}: should hold valid certificates only, and one {text}: replace the file"


def _listening(settings: ConsoleSettings) -> dict[str, Address]:
    metrics = {"CONTENTGEN_METRICS_LISTEN": settings.metrics} if settings.metrics else {}
    return {"CONTENTGEN_CONSOLE_LISTEN": settings.listen, **metrics}


def _ports(settings: ConsoleSettings) -> Iterator[str]:
    if settings.listen == settings.metrics and settings.listen.port:
        yield (
            f"CONTENTGEN_METRICS_LISTEN={settings.metrics}: should have a port of its own, and"
            " CONTENTGEN_CONSOLE_LISTEN has the same: choose another port"
        )


def _unresolved(settings: ConsoleSettings) -> Iterator[str]:
    for variable, address in _listening(settings).items():
        try:
            socket.getaddrinfo(address.host, None)
        except OSError as error:
            yield f"{variable}: {address.host} should be a name that resolves here ({error.strerror})"


async def _unreachable(settings: ConsoleSettings, findings: dict[str, str]) -> list[str]:
    """Asks a scheduler for its health, as it is reached with these settings."""
    variable = "CONTENTGEN_SCHEDULER"
    schedulers = Schedulers(settings)
    try:
        serves = await schedulers.serve(within=CALL_TIMEOUT)
    except grpc.RpcError as error:
        said = f"{error.code().name}: {error.details()}"
        return [
            f"{variable}: {settings.scheduler} should answer, and does not ({said}): correct it, or start a scheduler"
        ]
    finally:
        await schedulers.close()
    if not serves:
        return [f"{variable}: {settings.scheduler} should serve, and does not: look at its log and its database"]
    findings[variable] = "serves"
    return []


def _show(
    settings: ConsoleSettings, flags: Mapping[str, str], findings: Mapping[str, str], invalid: Container[str]
) -> None:
    for name, field in ConsoleSettings.model_fields.items():
        variable = str(field.alias)
        given = name in settings.model_fields_set
        source = "flag" if variable in flags else "environment" if given else "default"
        text = "invalid" if variable in invalid else _text(getattr(settings, name))
        found = f": {findings[variable]}" if variable in findings else ""
        print(f"{variable}={text} ({source}){found}")


def _text(value: object) -> str:
    match value:
        case bool():
            return "on" if value else "off"
        case None | "" | ():
            return "unset"
        case tuple():
            return ",".join(value)
        case _:
            return str(value)
