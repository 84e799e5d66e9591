"""The command line of the scheduler. Part of `scheduler_svc.config`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from contentgen.service import settings as service
from contentgen.service.settings import FlagParser, add_flags, from_environment_only
from scheduler_svc.config.settings import Settings

_DESCRIPTION = """Takes content-generation tasks over gRPC, keeps them in PostgreSQL and leases them to workers.
TERM finishes the calls in flight, hands the workers over and ends; a second TERM does not wait.
With a tokens file or TLS, HUP reads those files again. USR1 sets the log level to debug, USR2 sets it back.
`contentgen-scheduler token create --help` tells how callers get a token, `contentgen-scheduler import --help` how the
old application's data is taken over, `contentgen-scheduler migrate --help` how the database gets its tables where this
role may not make them, `contentgen-scheduler backup --help` and `restore --help` how it is kept and brought back,
`contentgen-scheduler config --help` how settings are checked before a start, `contentgen-scheduler health --help` how a
container's health is."""


def read_settings(arguments: Sequence[str]) -> Settings:
    """Returns the settings of `arguments` (without the program's name) and the environment.

    Raises SettingsError naming all problems, and SystemExit after `--help` or `--version`.
    """
    parser = settings_parser("contentgen-scheduler", _DESCRIPTION, Settings.model_fields)
    parser.add_argument("--version", action="version", version=version("contentgen-grpc"))
    return service.read_settings(Settings, parser, arguments)


def settings_parser(program: str, description: str, names: Iterable[str]) -> FlagParser:
    """Returns a parser with the flags of these settings."""
    parser = FlagParser(program, description=description, epilog=from_environment_only(Settings))
    add_flags(parser, Settings, names)
    return parser


def settings_of(flags: Mapping[str, Any]) -> Settings:
    """Returns the settings of these flags, by the settings' names, and the environment. Raises SettingsError."""
    return service.settings_of(Settings, flags)
