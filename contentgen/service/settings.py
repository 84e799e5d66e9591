"""The settings of a service, in one dialect: fields, variables, flags and messages.

A service derives a class from `ServiceSettings`. A field's docstring is its text in `--help`: what it means, its unit,
what unset means. A flag beats its variable, and an empty variable counts as unset.

Whether spans are exported follows from the standard variables of OpenTelemetry. Its exporter reads the others (headers,
certificates, timeout, sampler) itself.
"""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, _ActionsContainer
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from textwrap import fill
from typing import Any, ClassVar, NoReturn, Self, TypeVar

from pydantic import ValidationError, ValidationInfo, ValidatorFunctionWrapHandler, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from contentgen.variables import PREFIX
from contentgen.version import own_version

EXIT_STATUS = 78
"""The exit status of a process whose settings are wrong: EX_CONFIG of sysexits.h."""
EXIT_USAGE = 2
"""The exit status of a command that was not given as it has to be."""
HELP_WIDTH = 100
MAX_SHOWN = 200
"""Characters of a value that a message repeats."""

_MUST_BE = {
    "bool_parsing": "must be on or off",
    "path_not_file": "must be an existing file",
    "path_not_directory": "must be an existing folder",
}
S = TypeVar("S", bound="ServiceSettings")


class SettingsError(Exception):
    """Invalid settings. `problems` has one line for each, with what it should be; `names` are those of fields."""

    def __init__(self, problems: Iterable[str], names: Iterable[str] = ()) -> None:
        self.problems = tuple(problems)
        self.names = frozenset(names)
        super().__init__("\n".join(self.problems))


class UsageError(SettingsError):
    """An invalid command line."""


class ServiceSettings(BaseSettings):
    """One frozen object, validated as a whole."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        enable_decoding=False,  # values are plain text, never JSON
        use_attribute_docstrings=True,
        frozen=True,
        extra="forbid",
        validate_default=False,
    )

    SECRETS: ClassVar[frozenset[str]] = frozenset()
    """Settings without a flag, since other users can read a command line."""
    UNSHOWN: ClassVar[frozenset[str]] = frozenset()
    """Further settings whose values no message repeats: a secret may have been set where the path of its file
    belongs."""

    def conflicts(self) -> list[str]:
        """Returns what is wrong with the values together."""
        return []

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if problems := self.conflicts():
            raise ValueError("\n".join(problems))
        return self


def together(settings: ServiceSettings, *names: str) -> Iterator[str]:
    """Yields a problem unless all of these settings are set, or none."""
    if len({getattr(settings, name) is None for name in names}) > 1:
        variables = " and ".join(variable_of(type(settings), name) for name in names)
        yield f"{variables} go together: set {'both' if len(names) == 2 else 'all'} or none"


def variable_of(kind: type[ServiceSettings], name: str) -> str:
    field = kind.model_fields[name]
    return str(field.validation_alias) if field.validation_alias else PREFIX + name.upper()


def flag_of(kind: type[ServiceSettings], name: str) -> str:
    """Turns `queue_size` into `--queue-size`."""
    return "--" + variable_of(kind, name).removeprefix(PREFIX).lower().replace("_", "-")


class FlagParser(ArgumentParser):
    """Raises UsageError for what is wrong. Its result has only the flags that were given."""

    def __init__(self, program: str, **shape: Any) -> None:
        super().__init__(prog=program, argument_default=SUPPRESS, allow_abbrev=False, **shape)
        self.add_argument("--version", action="version", version=own_version())

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            raise UsageError(_unknown(unknown))
        return parsed

    def error(self, message: str) -> NoReturn:
        raise UsageError([f"{message} (--help lists the flags)"])


def _unknown(arguments: Iterable[str]) -> Iterator[str]:
    """Names arguments without their values: one may be a secret that was meant for a variable."""
    words = [*arguments]
    for previous, argument in zip(["", *words], words, strict=False):
        if argument.startswith("-"):
            yield f"{argument.partition('=')[0]}: no such flag (--help lists them)"
        elif not previous.startswith("-"):  # else it is the value of that one
            yield "there is an argument too many, without -- (--help lists the flags)"


def add_flags(
    parser: _ActionsContainer, kind: type[ServiceSettings], names: Iterable[str] | None = None, *, shown: str = "--"
) -> None:
    """Adds a flag for each setting but the secrets. `--help` lists those whose flag begins with `shown`."""
    for name in kind.model_fields if names is None else names:
        if name in kind.SECRETS:
            continue
        flag = flag_of(kind, name)
        text = _help(kind, name) if flag.startswith(shown) else SUPPRESS
        if kind.model_fields[name].annotation is bool:
            parser.add_argument(flag, dest=name, nargs="?", const="on", metavar="on|off", help=text)
            parser.add_argument(f"--no-{flag[2:]}", dest=name, action="store_const", const="off", help=SUPPRESS)
        else:
            parser.add_argument(flag, dest=name, metavar=name.rpartition("_")[2].upper(), help=text)


def from_environment_only(kind: type[ServiceSettings]) -> str:
    """Returns the text on the settings that have no flag, for the end of `--help`."""
    text = "From the environment only: " + " ".join(_help(kind, name) for name in sorted(kind.SECRETS))
    return fill(text, HELP_WIDTH, break_on_hyphens=False) if kind.SECRETS else ""


def _help(kind: type[ServiceSettings], name: str) -> str:
    meaning, default = described(kind, name)
    return f"{meaning} Default: {default} [{variable_of(kind, name)}]".replace("%", "%%")


def described(kind: type[ServiceSettings], name: str) -> tuple[str, str]:
    """Returns what a setting means and its default, as its docstring says; one without is shown as it is."""
    field = kind.model_fields[name]
    meaning, _, default = " ".join((field.description or "").split()).partition(" Default: ")
    return meaning, default or f"{shown(field.default)}."


def shown(value: object) -> str:
    match value:
        case None | () | "":
            return "unset"
        case bool():
            return "on" if value else "off"
        case float():
            return _duration(value)
        case tuple():
            return ",".join(map(str, value))
        case _:
            return str(value)


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86_400.0), ("h", 3_600.0), ("m", 60.0)):
        if seconds and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"


def read_settings(kind: type[S], parser: FlagParser, arguments: Sequence[str]) -> S:
    """Returns the settings of `arguments` (without the program's name) and the environment.

    Raises SettingsError naming all problems, and SystemExit after `--help` or `--version`.
    """
    try:
        parsed, unknown = parser.parse_known_args(arguments)
    except UsageError as error:
        return settings_of(kind, {}, error.problems)
    return settings_of(kind, vars(parsed), _unknown(unknown))


def settings_of(kind: type[S], flags: Mapping[str, Any], problems: Iterable[str] = ()) -> S:
    """Returns the settings of these flags, by the settings' names, and the environment.

    Raises SettingsError with `problems`, which were found before, and all else that is wrong.
    """
    earlier_problems = list(problems)
    try:
        settings = kind(**_by_alias(kind, flags))
    except ValidationError as error:
        invalid = [_name_at(kind, str(problem["loc"][0])) for problem in error.errors() if problem["loc"]]
        raise SettingsError([*earlier_problems, *_problems(kind, error, flags)], invalid) from None
    if earlier_problems:
        raise UsageError(earlier_problems)
    return settings


def lenient(kind: type[S], flags: Mapping[str, Any]) -> S:
    """Returns settings where an invalid value counts as its default, fitting together or not. Not to serve with."""

    class Lenient(kind):  # type: ignore[valid-type, misc]
        @field_validator("*", mode="wrap")
        @classmethod
        def _or_default(cls, value: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
            try:
                return validate(value)
            except ValueError:
                return kind.model_fields[str(info.field_name)].default

        @model_validator(mode="after")
        def _fit_together(self) -> Self:
            return self

    settings: S = Lenient(**_by_alias(kind, flags))
    return settings


def _by_alias(kind: type[ServiceSettings], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Returns them as pydantic takes them: a field whose variable has a name of its own by that one alone."""
    return {str(kind.model_fields[name].validation_alias or name): value for name, value in flags.items()}


def _name_at(kind: type[ServiceSettings], location: str) -> str:
    """Returns the setting of an error's location, which is its variable where that has a name of its own."""
    return next((name for name in kind.model_fields if variable_of(kind, name) == location), location)


def _problems(kind: type[ServiceSettings], error: ValidationError, flags: Collection[str]) -> Iterator[str]:
    """Yields one line a problem: its flag or variable, its value unless secret, and what it should be."""
    for problem in error.errors(include_url=False):
        text = _MUST_BE.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
        if not problem["loc"]:
            yield from text.splitlines()
            continue
        name = _name_at(kind, str(problem["loc"][0]))
        source = flag_of(kind, name) if name in flags else variable_of(kind, name)
        # What follows a switch may have been meant for something else, such as a URL with its password.
        hidden = name in kind.SECRETS | kind.UNSHOWN or problem["type"] == "bool_parsing"
        value = str(problem["input"])[:MAX_SHOWN]
        yield f"{source}: {text}" if hidden else f"{source}={value if value.isprintable() else repr(value)}: {text}"


_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_EXPORTER = "opentelemetry.exporter.otlp.proto.http"


def exports_traces(environ: Mapping[str, str]) -> bool:
    """Returns whether traces are to be exported. Raises SettingsError if they can't be."""
    endpoint = _first(_ENDPOINTS, environ)
    exporter = environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    if endpoint is None or exporter == "none" or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    problems = []
    if exporter != "otlp":
        problems.append(f"OTEL_TRACES_EXPORTER={exporter}: must be otlp, or none, which switches traces off")
    if not endpoint[1].startswith(("http://", "https://")):
        problems.append(f"{endpoint[0]}: must be a URL, such as http://collector:4318")
    protocol = _first(_PROTOCOLS, environ)
    if protocol and protocol[1] != "http/protobuf":
        problems.append("=".join(protocol) + ": must be http/protobuf, or unset (collectors take it on port 4318)")
    if not _is_installed():
        install = "pip install 'contentgen-grpc[otel]', or unset it"
        problems.append(f"{endpoint[0]} is set, and OpenTelemetry is not installed: {install}")
    if problems:
        raise SettingsError(problems)
    return True


def _first(names: tuple[str, ...], environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Returns the first of these variables that is set, with its value."""
    return next(((name, environ[name]) for name in names if environ.get(name)), None)


def _is_installed() -> bool:
    try:
        return find_spec(_EXPORTER) is not None and find_spec("opentelemetry.sdk.trace") is not None
    except ModuleNotFoundError:  # of the packages above it
        return False
