"""Settings from flags and the environment; the flag wins. Part of `scheduler_svc.config`."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, BooleanOptionalAction
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, NoReturn

from pydantic import ValidationError

from scheduler_svc.config.settings import PREFIX, Settings, SettingsError, UsageError

SECRETS = frozenset({"database_url", "database_url_file"})
"""Settings without a flag, whose values no message repeats: other users can read a command line, and the URL may have
been set where the path of its file belongs."""

_MUST_BE = {
    "bool_parsing": "must be on or off",
    "path_not_file": "must be an existing file",
    "path_not_directory": "must be an existing folder",
}

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
    return settings_of(vars(parser.parse_args(arguments)))


def settings_parser(program: str, description: str, names: Iterable[str]) -> ArgumentParser:
    """Returns a parser with the flags of these settings; its result holds only the flags that are given.

    It raises SettingsError for invalid arguments.
    """
    parser = _Parser(
        prog=program,
        description=description,
        epilog="From the environment only: " + " ".join(_help(name) for name in sorted(SECRETS)),
        argument_default=SUPPRESS,
        allow_abbrev=False,
    )
    for name in names:
        if name in SECRETS:
            continue
        field = Settings.model_fields[name]
        shape: dict[str, Any] = (
            {"action": BooleanOptionalAction} if field.annotation is bool else {"metavar": name.rsplit("_")[-1].upper()}
        )
        parser.add_argument(_flag(name), dest=name, help=_help(name), **shape)
    return parser


def settings_of(flags: Mapping[str, Any]) -> Settings:
    """Returns the settings of these flags, by the settings' names, and the environment. Raises SettingsError."""
    try:
        return Settings(**flags)
    except ValidationError as error:
        raise SettingsError(_problems(error, flags), map(_name_at, _locations(error))) from None


class _Parser(ArgumentParser):
    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(_named(unknown))}")
        return parsed

    def error(self, message: str) -> NoReturn:
        raise UsageError([f"{message} (--help lists the flags)"])


def _named(arguments: Sequence[str]) -> Iterator[str]:
    """Drops what may be a secret: values, and URLs."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if argument.startswith("-"):
            yield argument.partition("=")[0]
        elif not before.startswith("-"):
            yield argument.partition("://")[0]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    field = Settings.model_fields[name]
    return str(field.validation_alias) if field.validation_alias else PREFIX + name.upper()


def _help(name: str) -> str:
    text = " ".join((Settings.model_fields[name].description or "").split())
    return f"{text} [{variable_of(name)}]".replace("%", "%%")


def _locations(error: ValidationError) -> Iterator[str]:
    yield from (str(problem["loc"][0]) for problem in error.errors(include_url=False) if problem["loc"])


def _name_at(location: str) -> str:
    """The setting of an error's location, which is its variable where that has a name of its own."""
    return next((name for name in SECRETS if variable_of(name) == location), location)


def _problems(error: ValidationError, flags: Collection[str]) -> Iterator[str]:
    """One line a problem: its flag or variable, its value unless secret, and what it should be."""
    for problem in error.errors(include_url=False):
        text = _MUST_BE.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
        if not problem["loc"]:
            yield from text.splitlines()
            continue
        name = _name_at(str(problem["loc"][0]))
        source = _flag(name) if name in flags else variable_of(name)
        yield f"{source}: {text}" if name in SECRETS else f"{source}={problem['input']}: {text}"
