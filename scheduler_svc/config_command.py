"""`contentgen-scheduler config check`: what the settings are, and all that is wrong with them. Beside `replica`."""

from __future__ import annotations

import os
import socket
import sys
from argparse import RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scheduler_svc.api.server.certificates import Certificates, describe_expiry, earliest_expiry
from scheduler_svc.config import (
    EXIT_STATUS,
    Address,
    Bucket,
    Settings,
    SettingsError,
    UsageError,
    configure_logging,
    exports_traces,
    notices,
    settings_of,
    settings_parser,
    variable_of,
)
from scheduler_svc.config.command_line import SECRETS
from scheduler_svc.config.settings import DAY, HOUR
from scheduler_svc.config.tokens import read_tokens
from scheduler_svc.config.valid_settings import ValidSettings
from scheduler_svc.objects.choice import open_store
from scheduler_svc.postgres import PostgresError
from scheduler_svc.postgres.binaries import find_bindir
from scheduler_svc.store.engine.session_check import check_sessions

DONE = 0
USAGE = 2
_DESCRIPTION = """\
Reads all settings as a start would, and the files that they name: certificates and their key, tokens, folders. Prints
each setting with its value and where that comes from, secrets not shown, then everything that is wrong, each with what
it should be. It changes nothing, and listens on no address; a scheduler may run meanwhile.

  contentgen-scheduler config check                 before a start, as ExecStartPre= of a unit
  contentgen-scheduler config check --connect       also resolves names, and logs in to the database

Exit status: 0 all is right, 2 wrong usage, 78 something is wrong. An expired certificate is, though a scheduler starts
with it.
"""


def config_command(arguments: Sequence[str]) -> int:
    """Runs `config check`; returns the exit status."""
    try:
        flags = _flags(arguments)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return USAGE
    connect = flags.pop("connect")
    problems, invalid = _invalid(flags)
    settings = ValidSettings(**flags)
    configure_logging(settings)
    wrong = {variable_of(name) for name in invalid}
    problems += [it for it in settings.conflicts() if it not in problems and not any(name in it for name in wrong)]
    findings: dict[str, str] = {}
    for check in (_certificates(settings, findings), _tokens(settings, findings), _folders(settings), _ports(settings)):
        problems += check
    try:
        exports_traces(os.environ)
    except SettingsError as error:
        problems += error.problems
    if connect:
        problems += _unreachable(settings, findings)
    _show(settings, flags, findings, invalid)
    for notice in notices(os.environ):
        sys.stderr.write(f"note: {notice}\n")
    for problem in problems:
        sys.stderr.write(f"problem: {problem}\n")
    print(f"{len(problems)} problem{'s' * (len(problems) != 1)}" if problems else "all settings are right")
    return EXIT_STATUS if problems else DONE


def _flags(arguments: Sequence[str]) -> dict[str, Any]:
    if arguments[:1] != ["check"]:
        if {"--help", "-h"} & set(arguments):
            arguments = ["check", "--help"]
        else:
            raise UsageError(["the command is: contentgen-scheduler config check [--connect] (--help tells more)"])
    parser = settings_parser("contentgen-scheduler config check", _DESCRIPTION, Settings.model_fields)
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument(
        "--connect", action="store_true", default=False, help="resolve the names of hosts, and log in to the database"
    )
    return dict(vars(parser.parse_args(arguments[1:])))


def _invalid(flags: Mapping[str, Any]) -> tuple[list[str], frozenset[str]]:
    """What a start would refuse, and the names of the settings that are invalid each by itself."""
    try:
        settings_of(flags)
    except SettingsError as error:
        return list(error.problems), error.names
    return [], frozenset()


def _certificates(settings: Settings, findings: dict[str, str]) -> Iterator[str]:
    """Whether the PEM files can be read, belong together and have not expired."""
    if not (settings.tls_cert and settings.tls_key):
        return
    try:
        Certificates(settings)
    except SettingsError as error:
        yield from error.problems
    except OSError as error:
        yield f"{error.filename}: must be a file that can be read ({error.strerror})"
    now = datetime.now(UTC)
    for name, path in (("tls_cert", settings.tls_cert), ("tls_client_ca", settings.tls_client_ca)):
        end = _expiry(path)
        if end is None:
            continue
        expiry = describe_expiry(end, now)
        findings[name] = expiry or f"expires on {end:%Y-%m-%d %H:%M} UTC"
        if end <= now:
            yield f"{variable_of(name)}={path}: must hold valid certificates only, and one {expiry}: replace the file"


def _expiry(path: Path | None) -> datetime | None:
    """Of the first certificate in it to expire. Returns None for what can't be read, which is told otherwise."""
    try:
        return earliest_expiry(path.read_bytes()) if path else None
    except OSError:
        return None


def _tokens(settings: Settings, findings: dict[str, str]) -> Iterator[str]:
    if settings.tokens_file is None:
        return
    try:
        lines = read_tokens(settings.tokens_file)
    except SettingsError as error:
        yield from error.problems
        return
    roles = Counter(line.role for line in lines)
    findings["tokens_file"] = ", ".join(f"{count} of role {role}" for role, count in roles.items()) or "no tokens"
    if not lines:
        yield (
            f"CONTENTGEN_TOKENS_FILE={settings.tokens_file}: must have a line for each token, and has none, so nobody"
            " may call: contentgen-scheduler token create adds one"
        )


def _folders(settings: Settings) -> Iterator[str]:
    """Whether the folders can be written, or made; a bucket's credentials; an embedded PostgreSQL's programs."""
    folders: dict[str, Path] = {"CONTENTGEN_DATA_DIR": settings.data_dir}
    if isinstance(settings.assets, Path):
        folders["CONTENTGEN_ASSETS"] = settings.assets
    for variable, folder in folders.items():
        present = next(each for each in (folder, *folder.parents) if each.exists())
        if not (present.is_dir() and os.access(present, os.W_OK | os.X_OK)):
            yield (
                f"{variable}={folder}: must be a folder that this user can write or make, and {present} is not:"
                " name another one, or change its owner"
            )
    if isinstance(settings.assets, Bucket):
        try:
            open_store(settings.assets)
        except SettingsError as error:
            yield from error.problems
    if not settings.model_fields_set & SECRETS:
        try:
            find_bindir()
        except PostgresError as error:
            yield str(error)


def _listening(settings: Settings) -> dict[str, Address]:
    addresses = {name: getattr(settings, name) for name in ("listen", "metrics_listen", "scaler_listen")}
    return {variable_of(name): address for name, address in addresses.items() if address}


def _ports(settings: Settings) -> Iterator[str]:
    """Whether two addresses of this scheduler are the same."""
    by_address: dict[Address, str] = {}
    for variable, address in _listening(settings).items():
        other = by_address.setdefault(address, variable)
        if address.port and other != variable:
            yield f"{variable}={address}: must have a port of its own, and {other} has the same: choose another port"


def _unreachable(settings: Settings, findings: dict[str, str]) -> Iterator[str]:
    for variable, address in _listening(settings).items():
        yield from _unresolved(variable, address.host)
    if isinstance(settings.assets, Bucket) and settings.assets.endpoint:
        yield from _unresolved("CONTENTGEN_ASSETS", settings.assets.endpoint.rpartition("//")[2].split(":")[0])
    if settings.database_url is None:
        return
    try:
        check_sessions(settings.database_url)
    except SettingsError as error:
        yield from error.problems
    else:
        findings["database_url"] = "answers, and keeps sessions"


def _unresolved(variable: str, host: str) -> Iterator[str]:
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        yield f"{variable}: {host} must be a name that resolves here ({error.strerror}): correct it, or the resolver"


def _show(settings: Settings, flags: Iterable[str], findings: Mapping[str, str], invalid: Container[str]) -> None:
    for name in Settings.model_fields:
        given = name in settings.model_fields_set
        source = "flag" if name in flags else "environment" if given else "default"
        text = "invalid" if name in invalid else _text(name, getattr(settings, name), given=given)
        found = f": {findings[name]}" if name in findings else ""
        print(f"{variable_of(name)}={text} ({source}){found}")


def _text(name: str, value: object, *, given: bool) -> str:
    if name in SECRETS:
        return "set, not shown" if given else "unset"
    match value:
        case None:
            return "unset"
        case bool():
            return "on" if value else "off"
        case float():
            return _duration(value)
        case tuple():
            return ",".join(map(str, value)) or "unset"
        case _:
            return str(value)


def _duration(seconds: float) -> str:
    for unit, length in (("d", DAY), ("h", HOUR), ("m", 60.0)):
        if seconds and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"
