"""The command `config check` of a service: what its settings are, and everything that is wrong with them.

Exit statuses: 0 all is right, 2 wrong usage, 78 something is wrong.
"""

from __future__ import annotations

import os
import socket
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from textwrap import fill
from typing import Any, Generic, TypeVar

from contentgen import variables
from contentgen.certificates import describe_expiry
from contentgen.service.files import expiries
from contentgen.service.settings import (
    EXIT_STATUS,
    EXIT_USAGE,
    HELP_WIDTH,
    FlagParser,
    ServiceSettings,
    SettingsError,
    UsageError,
    add_flags,
    exports_traces,
    from_environment_only,
    lenient,
    settings_of,
    shown,
    variable_of,
)
from contentgen.service.values import Address

CALL_TIMEOUT = 5.0
"""Seconds that a scheduler may take to answer."""
_SERVING = b"\x08\x01"
"""A HealthCheckResponse with the status SERVING, as the wire has it: who asks has no generated code for it."""
S = TypeVar("S", bound=ServiceSettings)
Findings = dict[str, str]
"""What a check found out about a setting, by its name: it is shown beside the value."""

_ABOUT = (
    "Reads all settings as a start would, and the files that they name: {reads}. Prints each setting with its value and"
    " where that comes from, secrets not shown, then everything that is wrong, each with what it must be. It changes"
    " nothing, and listens on no address; a {service} may run meanwhile."
)
_DESCRIPTION = """\
{about}

  contentgen-{service} config check                 before a start, as ExecStartPre= of a unit
  contentgen-{service} config check --connect       if all else is right, {connects}

{more}Exit status: 0 all is right, 2 wrong usage, 78 something is wrong. An expired certificate is, though a {service}
starts with it.
"""


@dataclass(frozen=True, slots=True)
class ConfigCheck(Generic[S]):
    """The check of one service.

    Attributes:
        kind: its settings.
        reads, connects, more: parts of its help.
        checks: each yields what is wrong with settings that are valid each by itself.
        connect: yields what is wrong beyond this machine.
        notes: yields what is no problem, and should be known.
    """

    service: str
    kind: type[S]
    reads: str
    connects: str
    checks: Sequence[Callable[[S, Findings], Iterable[str]]]
    connect: Callable[[S, Findings], Iterable[str]]
    notes: Callable[[S], Iterable[str]] = field(default=lambda _: ())
    more: str = ""

    def run(self, arguments: Sequence[str]) -> int:
        """Runs the command with the arguments after `config`, and returns its exit status."""
        try:
            flags = self._flags(arguments)
        except UsageError as error:
            print(f"contentgen-{self.service} config: {error}", file=sys.stderr)
            return EXIT_USAGE
        connect = flags.pop("connect", False)
        problems, invalid = self._invalid(flags)
        settings = lenient(self.kind, flags)
        invalid_names = {variable_of(self.kind, name) for name in invalid}
        problems += [
            text
            for text in settings.conflicts()
            if text not in problems and not any(name in text for name in invalid_names)
        ]
        findings: Findings = {}
        for check in self.checks:
            problems += check(settings, findings)
        if connect and not problems:
            problems += self.connect(settings, findings)
        self._show(settings, flags, findings, invalid)
        for note in (*variables.notices(os.environ), *self.notes(settings)):
            print(f"note: {note}", file=sys.stderr)
        for problem in problems:
            print(f"problem: {problem}", file=sys.stderr)
        print(f"{len(problems)} problem{'s' * (len(problems) != 1)}" if problems else "all settings are right")
        return EXIT_STATUS if problems else 0

    def _flags(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Returns the flags of the command line. Raises UsageError; `--help` prints and exits 0."""
        if arguments[:1] != ["check"]:
            if not {"--help", "-h"} & set(arguments):
                raise UsageError(["the command is: config check [--connect] (--help tells more)"])
            arguments = ["check", "--help"]
        parser = FlagParser(
            f"contentgen-{self.service} config check",
            usage=f"contentgen-{self.service} config check [--connect] [--setting=value ...]",
            description=_DESCRIPTION.format(
                about=fill(_ABOUT.format(reads=self.reads, service=self.service), HELP_WIDTH),
                service=self.service,
                connects=self.connects,
                more=self.more,
            ),
            epilog=from_environment_only(self.kind),
            formatter_class=RawDescriptionHelpFormatter,
        )
        parser.add_argument("--connect", action="store_true", help=f"if all else is right, {self.connects}")
        add_flags(parser, self.kind)
        return dict(vars(parser.parse_args(arguments[1:])))

    def _invalid(self, flags: Mapping[str, Any]) -> tuple[list[str], frozenset[str]]:
        """Returns what a start would refuse, and the names of the settings that are invalid each by itself."""
        try:
            settings_of(self.kind, flags)
        except SettingsError as error:
            return list(error.problems), error.names
        return [], frozenset()

    def _show(self, settings: S, flags: Collection[str], findings: Findings, invalid: Collection[str]) -> None:
        for name in self.kind.model_fields:
            is_set = name in settings.model_fields_set
            source = "flag" if name in flags else "environment" if is_set else "default"
            text = shown(getattr(settings, name))
            if name in self.kind.SECRETS:  # one may have come from the file that another names
                text = "set, not shown" if is_set else "unset"
            finding = f": {findings[name]}" if name in findings else ""
            print(f"{variable_of(self.kind, name)}={'invalid' if name in invalid else text} ({source}){finding}")


def expired(settings: ServiceSettings, findings: Findings, *names: str) -> Iterator[str]:
    """Yields a problem for each file of these settings that has an expired certificate. Skips what can't be read."""
    now = datetime.now(UTC)
    for name, path, end in expiries(settings, *names):
        expiry = describe_expiry(end, now)
        findings[name] = expiry or f"expires on {end:%Y-%m-%d %H:%M} UTC"
        if end <= now:
            variable = variable_of(type(settings), name)
            yield f"{variable}={path}: must hold valid certificates only, and one {expiry}: replace the file"


def traces(_: ServiceSettings, __: Findings) -> Iterator[str]:
    """Yields why spans can't be exported, if they are to be."""
    try:
        exports_traces(os.environ)
    except SettingsError as error:
        yield from error.problems


def listening(settings: ServiceSettings) -> dict[str, Address]:
    """Returns the addresses that a service listens on, by variable."""
    values = {variable_of(type(settings), name): getattr(settings, name) for name in type(settings).model_fields}
    return {variable: value for variable, value in values.items() if isinstance(value, Address)}


def unwritable(variable: str, folder: Path) -> Iterator[str]:
    """Yields a problem if a folder can be neither written nor made."""
    folder = folder.expanduser().absolute()
    existing = next(ancestor for ancestor in (folder, *folder.parents) if ancestor.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        yield (
            f"{variable}={folder}: must be a folder that this user can write or make, and {existing} is not: name"
            " another one, or change its owner"
        )


def same_ports(settings: ServiceSettings, _: Findings) -> Iterator[str]:
    """Yields a problem for each address that another variable has, too."""
    by_address: dict[Address, str] = {}
    for variable, address in listening(settings).items():
        owner = by_address.setdefault(address, variable)
        if address.port and owner != variable:
            yield f"{variable}={address}: must have a port of its own, and {owner} has the same: choose another port"


def unresolved(settings: ServiceSettings, **hosts: str) -> Iterator[str]:
    """Yields a problem for each host, of the addresses or of `hosts`, whose name does not resolve here."""
    for variable, host in {**{name: address.host for name, address in listening(settings).items()}, **hosts}.items():
        try:
            socket.getaddrinfo(host, None)
        except OSError as error:
            yield (
                f"{variable}: {host} must be a name that resolves here ({error.strerror}): correct it, or the resolver"
            )


async def not_serving(scheduler: str, channel: Any) -> list[str]:
    """Asks the scheduler of that address for its health, over a channel of grpc.aio. Returns what is wrong with it."""
    import grpc  # a check of the settings alone does not need it

    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    variable = f"CONTENTGEN_SCHEDULER: {scheduler}"
    try:
        answer = await check(b"", timeout=CALL_TIMEOUT)
    except grpc.RpcError as error:
        reason = f"{error.code().name}: {error.details()}"
        return [f"{variable} must answer, and does not ({reason}): correct it, or start a scheduler"]
    if answer != _SERVING:
        return [f"{variable} must serve, and does not: look at its log and its database"]
    return []
