"""The worker's settings: one frozen object, read once from flags and environment variables, validated all at once.

Layer: above creator_user; nothing else is below it.
"""

from __future__ import annotations

import argparse
import os
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from worker_svc.creator_user import CreatorUser

EXIT_CONFIG = 78
"""Exit status (EX_CONFIG) of a worker whose settings are wrong."""

MAX_SLOTS = 1_000
"""CLIs that one worker may run at once. A scheduler refuses a hello with more slots."""

_SECRETS = frozenset({"CONTENTGEN_TOKEN"})
"""Variables without a flag: every user of the machine can read a command line."""
_SWITCH: Mapping[str, Any] = {"metavar": "on|off", "nargs": "?", "const": "on"}
"""How the flag of a switch is parsed."""
_REDACTED = _SECRETS | {"CONTENTGEN_TOKEN_FILE"}
"""Variables whose value no message repeats: the token may have been set where the path of its file belongs."""

GRPC_SCHEMES = ("dns", "ipv4", "ipv6", "unix", "unix-abstract", "vsock", "xds")
"""Schemes of gRPC targets."""

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.%\w]+\]|[^\s:,/\[\]]+):(\d{1,5})")
_HERE = re.compile(
    r"(?:(?:dns:(?:///)?)?(?:127\.[\d.]+|localhost|\[::1\])|ipv4:127\.[\d.]+|ipv6:\[::1\])(?::\d+)?|unix(?:-abstract)?:.*"
)
_LISTEN = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]*):(\d{1,5})", re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_OPTION = re.compile(r"[a-z][a-z0-9-]{0,62}")
_HOST = re.compile(r"(?:\*\.)?[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[1-9][0-9]{0,4})?")
_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB)?")
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024 * 1024}


class SettingsError(Exception):
    """Some settings are wrong; `problems` has a line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def duration(value: object) -> object:
    """Parses a text such as `90`, `90s` or `2m` into seconds. Returns other types as they are, for pydantic."""
    if not isinstance(value, str):
        return value
    if not (found := _DURATION.fullmatch(value.strip())):
        raise ValueError("should be a duration: seconds, or a number with ms, s, m, h or d, such as 90, 90s or 2m")
    return float(found[1]) * _SECONDS[found[2] or "s"]


def size(value: object) -> object:
    """Parses a text such as `3145728`, `3072KiB` or `3MiB` into bytes. Returns other types as they are."""
    if not isinstance(value, str):
        return value
    if not (found := _SIZE.fullmatch(value.strip())):
        raise ValueError("should be a size: bytes, or a whole number with KiB or MiB, such as 3145728 or 3MiB")
    return int(found[1]) * _BYTES[found[2] or "B"]


def names(value: object) -> object:
    """Parses names of variables, separated by commas."""
    if not isinstance(value, str):
        return value
    found = tuple(name.strip() for name in value.split(",") if name.strip())
    if wrong := [name for name in found if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII)]:
        raise ValueError(f"should be names of environment variables, separated by commas; {wrong[0]!r} is not")
    return found


def option_names(value: object) -> object:
    """Parses names of creator options, separated by commas, or `*`."""
    if not isinstance(value, str):
        return value
    found = tuple(name.strip() for name in value.split(",") if name.strip())
    if wrong := [name for name in found if not (name == "*" or _OPTION.fullmatch(name))]:
        raise ValueError(
            f"should be names of creator options, separated by commas, such as audience,min-words, or * for all;"
            f" {wrong[0]!r} is not"
        )
    return found


def host_names(value: object) -> object:
    """Parses names of hosts, separated by commas."""
    if not isinstance(value, str):
        return value
    found = tuple(name.strip().lower() for name in value.split(",") if name.strip())
    if wrong := [name for name in found if not _HOST.fullmatch(name)]:
        raise ValueError(
            "should be names of hosts, separated by commas, such as cdn.example.com, *.example.com or"
            f" cdn.example.com:8443; {wrong[0]!r} is not"
        )
    return found


Duration = Annotated[float, BeforeValidator(duration)]
Size = Annotated[int, BeforeValidator(size)]
Hosts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(host_names)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(names)]
OptionNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(option_names)]


class WorkerSettings(BaseSettings):
    """The worker's settings. The alias of a field is its environment variable; durations are in seconds."""

    model_config = SettingsConfigDict(
        frozen=True, env_ignore_empty=True, case_sensitive=True, extra="ignore", use_attribute_docstrings=True
    )

    scheduler: str = Field("127.0.0.1:50051", alias="CONTENTGEN_SCHEDULER", min_length=1)
    """Address of the schedulers: any gRPC target, or several addresses, separated by commas."""
    token: SecretStr | None = Field(None, alias="CONTENTGEN_TOKEN")
    """Token of role worker; unset if the scheduler requires none."""
    token_file: Path | None = Field(None, alias="CONTENTGEN_TOKEN_FILE")
    """File that holds this token, instead of CONTENTGEN_TOKEN; read again when it changes, or on HUP, like the PEM
    files."""
    tls_ca: Path | None = Field(None, alias="CONTENTGEN_TLS_CA")
    """PEM file of the CA that signed the scheduler's certificate; unset: plaintext."""
    tls_client_cert: Path | None = Field(None, alias="CONTENTGEN_TLS_CLIENT_CERT")
    """PEM file of this worker's own certificate; requires the CA and the key; unset: none."""
    tls_client_key: Path | None = Field(None, alias="CONTENTGEN_TLS_CLIENT_KEY")
    """PEM file of the key of this worker's certificate; unset: none."""
    insecure: bool = Field(False, alias="CONTENTGEN_INSECURE")
    """Allow a token without TLS to schedulers beyond loopback, to try out: it passes the network in plaintext."""
    metrics_listen: str | None = Field(None, alias="CONTENTGEN_METRICS_LISTEN")
    """host:port to serve /metrics, /livez and /readyz on by HTTP, without TLS or tokens; :0 is loopback with any free
    port. Unset: none."""
    data_dir: Path = Field(Path(".contentgen"), alias="CONTENTGEN_DATA_DIR")
    """Folder for ids and unacknowledged results; each worker uses a sub-folder of its own."""
    worker_id: str | None = Field(None, alias="CONTENTGEN_WORKER_ID", min_length=1, max_length=200)
    """Name of this worker and of its sub-folder; unset: host name and a suffix that the folder keeps."""
    slots: int = Field(3, alias="CONTENTGEN_SLOTS", ge=1, le=MAX_SLOTS)
    """CLIs that run at once, 1 to 1000. CPU-bound: the number of cores; waiting for models: 2 to 4 times that."""
    queue_size: int = Field(0, alias="CONTENTGEN_QUEUE_SIZE", ge=0, le=1000)
    """Leases that wait for a slot, 0 to 1000."""
    run_one: bool = Field(False, alias="CONTENTGEN_RUN_ONE")
    """Run one task, deliver its result and end, as a job needs it. One slot, whatever the settings of slots and queue
    and the schedulers say. A result in the spool counts as this task: it is delivered, and no task is taken."""
    run_one_wait: Duration = Field(600.0, alias="CONTENTGEN_RUN_ONE_WAIT", ge=1, le=7 * 86400)
    """How long --run-one waits for its task. It then ends with status 0, or 1 if it has reached no scheduler."""
    drain_timeout: Duration = Field(600.0, alias="CONTENTGEN_DRAIN_TIMEOUT", ge=0, le=7 * 86400)
    """How long running CLIs may take after TERM; then they are stopped and their leases released."""
    creator_cli_path: str = Field("content-creator", alias="CREATOR_CLI_PATH", min_length=1)
    """The creator CLI: a path, or a name on the PATH."""
    creator_user: str | None = Field(None, alias="CREATOR_USER")
    """The user whom CLIs run as, so that none can read the worker's token, spool and memory. The worker needs root, or
    the capabilities to change users; every folder above its data has to let that user pass. Unset: the worker's own."""
    creator_profile: Literal["reference", "json", "llm-content-creator"] = Field("reference", alias="CREATOR_PROFILE")
    """How the CLI is driven: reference, json, or llm-content-creator (the npm package of that name)."""
    creator_poll_interval: Duration = Field(30.0, alias="CREATOR_POLL_INTERVAL", ge=0.05, le=3600)
    """Time between two calls of `status` (profile reference)."""
    creator_max_result: Size = Field(3 * 1024 * 1024, alias="CREATOR_MAX_RESULT", ge=1, le=3 * 1024 * 1024)
    """Size of body and HTML together, 3MiB at most; a larger result fails the task."""
    creator_env: Names = Field((), alias="CREATOR_ENV")
    """Names of variables, separated by commas, that the CLI gets beside PATH, HOME, LANG, LC_ALL, TMPDIR and those of
    its profile. The value of each may be in a file that NAME_FILE names, read at start."""
    creator_asset_hosts: Hosts = Field((), alias="CREATOR_ASSET_HOSTS")
    """Hosts, separated by commas, whose pictures are taken when a result names their https addresses, such as
    cdn.example.com, *.example.com (all below that name) or cdn.example.com:8443; unset: only files of the run are
    taken."""
    creator_options_allowed: OptionNames | None = Field(None, alias="CREATOR_OPTIONS_ALLOWED")
    """Names of creator options, separated by commas, that tasks may pass to the CLI; *: all. A task with others fails,
    and is not retried. Unset: those that the profile knows (reference and json: none; llm-content-creator: audience,
    min-words and max-words)."""
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", alias="CONTENTGEN_LOG_LEVEL")
    """Lowest level that is logged: debug, info, warning or error."""
    log_format: Literal["console", "json"] | None = Field(None, alias="CONTENTGEN_LOG_FORMAT")
    """console or json; unset: console on a terminal, else json."""

    @field_validator("scheduler")
    @classmethod
    def _reachable(cls, target: str) -> str:
        for address in addresses(target):
            found = _ADDRESS.fullmatch(address)
            if not _has_scheme(address) and not (found and 0 < int(found[2]) < 65536):
                raise ValueError(
                    f"should be host:port, several of them separated by commas, or a gRPC target; {address!r} is not"
                )
        return target

    @field_validator("metrics_listen")
    @classmethod
    def _listenable(cls, address: str | None) -> str | None:
        if address is None:
            return None
        found = _LISTEN.fullmatch(address.strip())
        if found is None or int(found[2]) > 65535:
            raise ValueError("should be host:port, such as 127.0.0.1:9464, [::1]:9464 or :0 (loopback, any free port)")
        return f"{found[1] or '127.0.0.1'}:{found[2]}"

    @field_validator("token_file", "tls_ca", "tls_client_cert", "tls_client_key")
    @classmethod
    def _readable(cls, path: Path | None) -> Path | None:
        if path is not None:
            try:
                path.open("rb").close()
            except OSError as error:
                raise ValueError(f"should be a readable file ({error.strerror})") from None
        return path

    @field_validator("worker_id")
    @classmethod
    def _printable(cls, worker_id: str | None) -> str | None:
        if worker_id is not None and not worker_id.isprintable():
            raise ValueError("should be printable characters only")
        return worker_id

    @field_validator("creator_user")
    @classmethod
    def _assumable(cls, name: str | None) -> str | None:
        if name is not None:
            CreatorUser.named(name)
        return name

    @field_validator("token")
    @classmethod
    def _sendable(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and not re.fullmatch("[!-~]+", token.get_secret_value()):
            raise ValueError("should be ASCII characters, without spaces and line breaks")
        return token

    @model_validator(mode="after")
    def _whole_identity(self) -> WorkerSettings:
        if problems := self.conflicts():
            raise ValueError("\n".join(problems))
        return self

    def cli_user(self) -> CreatorUser | None:
        """The user of CREATOR_USER; None if it is unset."""
        return None if self.creator_user is None else CreatorUser.named(self.creator_user)

    def conflicts(self) -> list[str]:
        """What is wrong with the values together."""
        problems = []
        if self.token is not None and self.token_file is not None:
            problems.append("CONTENTGEN_TOKEN and CONTENTGEN_TOKEN_FILE exclude each other: unset one of them")
        if (self.tls_client_cert is None) != (self.tls_client_key is None):
            problems.append("CONTENTGEN_TLS_CLIENT_CERT and CONTENTGEN_TLS_CLIENT_KEY should be set together")
        if self.tls_client_cert is not None and self.tls_ca is None:
            problems.append("CONTENTGEN_TLS_CA should be set if CONTENTGEN_TLS_CLIENT_CERT is")
        if (self.token or self.token_file) and not (self.tls_ca or self.insecure or self._stays_here):
            problems.append(
                f"CONTENTGEN_SCHEDULER={self.scheduler}: the token would pass the network in plaintext: set"
                " CONTENTGEN_TLS_CA, or reach a scheduler on 127.0.0.1, or set CONTENTGEN_INSECURE=on to try it out"
            )
        return problems

    @property
    def _stays_here(self) -> bool:
        """Whether nothing that is sent to the schedulers leaves this machine."""
        return all(_HERE.fullmatch(address.strip()) for address in self.scheduler.split(","))


def addresses(target: str) -> list[str]:
    """Splits CONTENTGEN_SCHEDULER: one gRPC target with a scheme, or plain addresses, separated by commas."""
    if _has_scheme(target):
        return [target]
    return [address.strip() for address in target.split(",")]


def _has_scheme(target: str) -> bool:
    return target.partition(":")[0] in GRPC_SCHEMES


def flag_of(variable: str) -> str:
    """`CONTENTGEN_QUEUE_SIZE` → `--queue-size`, `CREATOR_ENV` → `--creator-env`."""
    return "--" + variable.removeprefix("CONTENTGEN_").lower().replace("_", "-")


def read_settings(argv: Sequence[str]) -> WorkerSettings:
    """Returns the settings from `argv` (without the program's name) and the environment; a flag beats its variable.

    `--help` prints every setting and exits 0. Raises SettingsError with everything that is wrong.
    """
    try:
        found, unknown = _parser().parse_known_args(argv)
    except SettingsError as error:
        return make_settings({}, error.problems)
    problems = [f"{name}: no such setting; --help lists them" for name in flag_names(unknown)]
    return make_settings(given_settings(found), problems)


def make_settings(flags: Mapping[str, str], problems: Sequence[str] = ()) -> WorkerSettings:
    """Returns the settings from `flags` (by variable) and the environment.

    Raises SettingsError with `problems`, which were found before, and everything else that is wrong.
    """
    try:
        settings = WorkerSettings(**flags)  # type: ignore[arg-type] # texts, as the environment gives them
    except ValidationError as error:
        found = (line for detail in error.errors() for line in _problem(detail, flags).splitlines())
        raise SettingsError([*problems, *found]) from None
    if problems:
        raise SettingsError(problems)
    return settings


def given_settings(found: argparse.Namespace) -> dict[str, str]:
    """Returns the settings among parsed flags, by variable."""
    variables = {str(field.alias) for field in WorkerSettings.model_fields.values()}
    return {name: value for name, value in vars(found).items() if name in variables and value is not None}


def flag_names(arguments: Sequence[str]) -> Iterator[str]:
    """Names arguments without their values: one may be a secret that was meant for a variable."""
    for argument in arguments:
        yield argument.partition("=")[0] if argument.startswith("-") else "an argument without --"


def add_setting_flags(parser: argparse._ActionsContainer, prefix: str = "") -> None:
    """Adds a flag for each setting but the secrets; `--help` lists those whose variable begins with `prefix`."""
    for field in WorkerSettings.model_fields.values():
        variable = str(field.alias)
        if variable not in _SECRETS:
            text = _help(field) if variable.startswith(prefix) else argparse.SUPPRESS
            shape: Mapping[str, Any] = _SWITCH if field.annotation is bool else {"metavar": _metavar(variable)}
            parser.add_argument(flag_of(variable), dest=variable, help=text, **shape)


_STATUSES = """\
exit statuses:
  0   drained; or the one task of --run-one is done and its result acknowledged, or none came
  1   broken; or --run-one has reached no scheduler
  75  --run-one: the result is not acknowledged. It is in the data folder: start again on it
  78  wrong settings, or a CLI that cannot be run"""


class FlagParser(argparse.ArgumentParser):
    """Raises what is wrong with the flags, so that it is reported together with all else."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError([message])


def _parser() -> argparse.ArgumentParser:
    secrets = [field for field in WorkerSettings.model_fields.values() if field.alias in _SECRETS]
    parser = FlagParser(
        prog="contentgen-worker",
        usage="contentgen-worker [--help] [--setting=value ...]\n"
        "       contentgen-worker --run-one [...]            runs one task, and ends\n"
        "       contentgen-worker try --topic=TEXT [...]     runs the creator CLI once, without a scheduler\n"
        "       contentgen-worker config check [...]         shows the settings, and what is wrong with them",
        description="Runs the creator CLI on tasks that a scheduler leases to it.\n"
        "TERM drains; a second TERM stops. HUP reads the token and certificate files again.\n"
        "USR1 sets the log level to debug, USR2 sets it back.",
        epilog="".join(f"No flag, variable only:\n  {field.alias}: {field.description}\n\n" for field in secrets)
        + "A flag beats its variable. Durations are seconds, or carry a unit: 90, 90s, 2m.\n\n"
        + _STATUSES,
        allow_abbrev=False,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    add_setting_flags(parser)
    return parser


def _metavar(variable: str) -> str:
    return variable.rpartition("_")[2]


def _help(field: FieldInfo) -> str:
    text = f"{field.description} Default: {_default(field)}. [{field.alias}]".replace("%", "%%")
    return "\n".join(textwrap.wrap(text, 90, break_on_hyphens=False))


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value == ():
        return "unset"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g} s" if isinstance(value, float) else str(value)


def _problem(detail: ErrorDetails, flags: Mapping[str, str]) -> str:
    """Describes one error in a line, named by the flag or the variable, as it was given."""
    message = detail["msg"].removeprefix("Value error, ").replace("Input should", "should")
    if not detail["loc"]:
        return message
    variable = str(detail["loc"][0])
    name = flag_of(variable) if variable in flags else variable
    given = flags.get(variable, os.environ.get(variable, ""))
    value = "" if variable in _REDACTED else f" is {given[:200]!r};"
    return f"{name}{value} {message}"
