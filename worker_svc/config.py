"""The worker's settings: one frozen object, read once from flags and environment variables, validated all at once.

The variables that a CLI gets, and the logs, are here too.
"""

from __future__ import annotations

import logging
import re
from argparse import RawDescriptionHelpFormatter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, SecretStr, field_validator

from contentgen.service import logs
from contentgen.service import settings as service
from contentgen.service.settings import (
    FlagParser,
    ServiceSettings,
    SettingsError,
    add_flags,
    from_environment_only,
    together,
)
from contentgen.service.values import (
    ListenAddress,
    LogFormat,
    LogLevel,
    ReadableFile,
    Text,
    by_comma,
    choice,
    duration,
    size,
    whole_number,
)
from worker_svc.creator_user import CreatorUser

MAX_WORKER_ID = 200
MAX_SLOTS = 1_000
"""CLIs that one worker may run at once. A scheduler refuses a hello with more slots."""
GRPC_SCHEMES = ("dns", "ipv4", "ipv6", "unix", "unix-abstract", "vsock", "xds")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.%\w]+\]|[^\s:,/\[\]]+):(\d{1,5})")
_HERE = re.compile(
    r"(?:(?:dns:(?:///)?)?(?:127\.[\d.]+|localhost|\[::1\])|ipv4:127\.[\d.]+|ipv6:\[::1\])(?::\d+)?|unix(?:-abstract)?:.*"
)
_OPTION = re.compile(r"\*|[a-z][a-z0-9-]{0,62}")
_HOST = re.compile(r"(?:\*\.)?[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[1-9][0-9]{0,4})?")
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_WEEK = 7 * 86_400.0
MAX_RESULT = 3 * 1024 * 1024
"""Bytes of a result's texts, at most."""
Hosts = Annotated[
    tuple[str, ...], by_comma(_HOST, "names of hosts", "cdn.example.com,*.example.com,cdn.example.com:8443", lower=True)
]
Names = Annotated[tuple[str, ...], by_comma(_VARIABLE, "names of environment variables", "LLM_API_KEY,HTTPS_PROXY")]
OptionNames = Annotated[
    tuple[str, ...], by_comma(_OPTION, "names of creator options, or * for all", "audience,min-words")
]

_LABEL = re.compile(r"[^\s=][^=]{0,62}=.{1,255}")
Labels = Annotated[
    tuple[str, ...],
    by_comma(_LABEL, "labels", "creator=video,region=eu"),
    Field(max_length=32),
]


class WorkerSettings(ServiceSettings):
    """The worker's settings; durations are in seconds."""

    SECRETS: ClassVar[frozenset[str]] = frozenset({"token"})
    UNSHOWN: ClassVar[frozenset[str]] = frozenset({"token_file"})

    scheduler: Text = "127.0.0.1:50051"
    """Address of the schedulers: any gRPC target, or several addresses, separated by commas."""
    token: SecretStr | None = None
    """Token of role worker; unset if the scheduler requires none."""
    token_file: ReadableFile | None = None
    """File that holds this token, instead of CONTENTGEN_TOKEN; read again when it changes, or on HUP, like the PEM
    files."""
    tls_ca: ReadableFile | None = None
    """PEM file of the CA that signed the scheduler's certificate; unset: plaintext."""
    tls_client_cert: ReadableFile | None = None
    """PEM file of this worker's own certificate; requires the CA and the key; unset: none."""
    tls_client_key: ReadableFile | None = None
    """PEM file of the key of this worker's certificate; unset: none."""
    insecure: bool = False
    """Allow a token without TLS to schedulers beyond loopback, to try out: it passes the network in plaintext."""
    metrics_listen: ListenAddress | None = None
    """host:port to serve /metrics, /livez and /readyz on by HTTP, without TLS or tokens; :0 is loopback with any free
    port. Unset: none."""
    data_dir: Path = Path(".contentgen")
    """Folder for ids and unacknowledged results; each worker uses a sub-folder of its own."""
    worker_id: str | None = None
    """Name of this worker and of its sub-folder; unset: host name and a suffix that the folder keeps."""
    slots: Annotated[int, whole_number(1, MAX_SLOTS)] = 3
    """CLIs that run at once, 1 to 1000. CPU-bound: the number of cores; waiting for models: 2 to 4 times that."""
    queue_size: Annotated[int, whole_number(0, 1_000)] = 0
    """Leases that wait for a slot, 0 to 1000."""
    labels: Labels = ()
    """Labels of this worker, separated by commas, such as creator=video,region=eu: it also gets tasks whose
    worker_selector these contain. At most 32; keys of 1 to 63 characters, values of 1 to 255. Unset: none."""
    run_one: bool = False
    """Run one task, deliver its result and end, as a job needs it. One slot, whatever the settings of slots and queue
    and the schedulers say. A result in the spool counts as this task: it is delivered, and no task is taken."""
    run_one_wait: Annotated[float, duration(1, _WEEK)] = 600.0
    """How long --run-one waits for its task. It then ends with status 0, or 1 if it has reached no scheduler."""
    drain_timeout: Annotated[float, duration(0, _WEEK)] = 600.0
    """How long running CLIs may take after TERM; then they are stopped and their leases released."""
    creator_cli_path: Text = Field(default="content-creator", validation_alias="CREATOR_CLI_PATH")
    """The creator CLI: a path, or a name on the PATH."""
    creator_user: str | None = Field(default=None, validation_alias="CREATOR_USER")
    """The user whom CLIs run as, so that none can read the worker's token, spool and memory. The worker needs root, or
    the capabilities to change users; every folder above its data has to let that user pass. Unset: the worker's own."""
    creator_profile: Annotated[str, choice("reference", "json", "llm-content-creator")] = Field(
        default="reference", validation_alias="CREATOR_PROFILE"
    )
    """How the CLI is driven: reference, json, or llm-content-creator (the npm package of that name)."""
    creator_poll_interval: Annotated[float, duration(0.05, 3_600)] = Field(
        default=30.0, validation_alias="CREATOR_POLL_INTERVAL"
    )
    """Time between two calls of `status` (profile reference)."""
    creator_max_result: Annotated[int, size(1, MAX_RESULT)] = Field(
        default=MAX_RESULT, validation_alias="CREATOR_MAX_RESULT"
    )
    """Size of body and HTML together, 3MiB at most; a larger result fails the task."""
    creator_env: Names = Field(default=(), validation_alias="CREATOR_ENV")
    """Names of variables, separated by commas, that the CLI gets beside PATH, HOME, LANG, LC_ALL, TMPDIR and those of
    its profile. The value of each may be in a file that NAME_FILE names, read at start."""
    creator_asset_hosts: Hosts = Field(default=(), validation_alias="CREATOR_ASSET_HOSTS")
    """Hosts, separated by commas, whose pictures are taken when a result names their https addresses, such as
    cdn.example.com, *.example.com (all below that name) or cdn.example.com:8443; unset: only files of the run are
    taken."""
    creator_options_allowed: OptionNames | None = Field(default=None, validation_alias="CREATOR_OPTIONS_ALLOWED")
    """Names of creator options, separated by commas, that tasks may pass to the CLI; *: all. A task with others fails,
    and is not retried. Unset: those that the profile knows (reference and json: none; llm-content-creator: audience,
    min-words and max-words)."""
    log_level: LogLevel = "info"
    """Lowest level that is logged: debug, info, warning or error."""
    log_format: LogFormat | None = None
    """console or json; unset: console on a terminal, else json."""

    @field_validator("scheduler")
    @classmethod
    def _reachable(cls, target: str) -> str:
        for address in addresses(target):
            match = _ADDRESS.fullmatch(address)
            if not _has_scheme(address) and not (match and 0 < int(match[2]) < 65536):
                raise ValueError(
                    f"must be host:port, several of them separated by commas, or a gRPC target; {address!r} is not"
                )
        return target

    @field_validator("worker_id")
    @classmethod
    def _printable(cls, worker_id: str | None) -> str | None:
        if worker_id is not None and not (1 <= len(worker_id) <= MAX_WORKER_ID and worker_id.isprintable()):
            raise ValueError(f"must be 1 to {MAX_WORKER_ID} printable characters")
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
            raise ValueError("must be ASCII characters, without spaces and line breaks")
        return token

    @property
    def result_output(self) -> int:
        """Bytes of stdout that hold any allowed result: JSON needs up to three bytes for one, as in escaped emoji."""
        return 3 * self.creator_max_result + 1024 * 1024

    def cli_user(self) -> CreatorUser | None:
        return None if self.creator_user is None else CreatorUser.named(self.creator_user)

    def conflicts(self) -> list[str]:
        problems = [*together(self, "tls_client_cert", "tls_client_key")]
        if self.token is not None and self.token_file is not None:
            problems.append("CONTENTGEN_TOKEN and CONTENTGEN_TOKEN_FILE exclude each other: unset one of them")
        if self.tls_client_cert is not None and self.tls_ca is None:
            problems.append("CONTENTGEN_TLS_CLIENT_CERT asks for CONTENTGEN_TLS_CA")
        stays_here = all(_HERE.fullmatch(address.strip()) for address in self.scheduler.split(","))
        if (self.token or self.token_file) and not (self.tls_ca or self.insecure or stays_here):
            problems.append(
                f"CONTENTGEN_SCHEDULER={self.scheduler}: the token would pass the network in plaintext: set"
                " CONTENTGEN_TLS_CA, or reach a scheduler on 127.0.0.1, or set CONTENTGEN_INSECURE=on to try it out"
            )
        return problems


def addresses(target: str) -> list[str]:
    """Splits CONTENTGEN_SCHEDULER: one gRPC target with a scheme, or plain addresses, separated by commas."""
    if _has_scheme(target):
        return [target]
    return [address.strip() for address in target.split(",")]


def _has_scheme(target: str) -> bool:
    return target.partition(":")[0] in GRPC_SCHEMES


_STATUSES = """\
exit statuses:
  0   drained; or the one task of --run-one is done and its result acknowledged, or none came
  1   broken; or --run-one has reached no scheduler
  75  --run-one: the result is not acknowledged. It is in the data folder: start again on it
  78  wrong settings, or a CLI that cannot be run"""


def read_settings(argv: Sequence[str]) -> WorkerSettings:
    """Returns the settings from `argv` (without the program's name) and the environment.

    `--help` prints every setting and exits 0. Raises SettingsError with everything that is wrong.
    """
    parser = FlagParser(
        "contentgen-worker",
        usage="contentgen-worker [--help] [--setting=value ...]\n"
        "       contentgen-worker --run-one [...]            runs one task, and ends\n"
        "       contentgen-worker try --topic=TEXT [...]     runs the creator CLI once, without a scheduler\n"
        "       contentgen-worker config check [...]         shows the settings, and what is wrong with them",
        description="Runs the creator CLI on tasks that a scheduler leases to it.\n"
        "TERM drains; a second TERM stops. HUP reads the token and certificate files again.\n"
        "USR1 sets the log level to debug, USR2 sets it back.",
        epilog=from_environment_only(WorkerSettings)
        + "\n\nA flag beats its variable. Durations are seconds, or carry a unit: 90, 90s, 2m.\n\n"
        + _STATUSES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    add_flags(parser, WorkerSettings)
    return service.read_settings(WorkerSettings, parser, argv)


# What the CLI gets of the environment. No value is repeated: it may be a secret.


def variables_for_cli(
    names: Collection[str], environ: Mapping[str, str], shapes: Mapping[str, tuple[str, str]]
) -> dict[str, str]:
    """Returns the variables of these names that are set, or whose value is in a file that NAME_FILE names.

    Raises SettingsError for a file that can't be read, if both are set, or for a value that has not the shape of its
    name.
    """
    values, problems = {name: environ[name] for name in names if name in environ}, []
    for name in names:
        file = f"{name}_FILE"
        if not environ.get(file) or file in names:  # a CLI that reads the file itself gets its path
            continue
        if environ.get(name):
            problems.append(f"{name} and {file} exclude each other: unset one of them")
            continue
        try:
            values[name] = _held_by(Path(environ[file]))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it must be text"
            problems.append(f"{file}: must be the path of a file that holds {name} ({reason})")
    for name, (pattern, must_be) in shapes.items():
        if name in values and not re.fullmatch(pattern, values[name]):
            problems.append(f"{name}: {must_be}")
    if problems:
        raise SettingsError(problems)
    return values


def _held_by(file: Path) -> str:
    """Returns the text that a file holds. Raises OSError, and ValueError for what no variable can hold."""
    text = file.read_text(encoding="utf-8").rstrip("\r\n")
    if "\0" in text:
        raise ValueError
    return text


# The worker's logs.

_REDUNDANT_LOGGER = "grpc._common"
"""Logs a traceback for a malformed message. The stream ends then, which the worker logs itself."""


def configure_logging(level: str, form: str | None) -> None:
    """Configures structlog and the root logger. If `form` is None: console on a terminal, else JSON."""
    logs.configure_logging(level, form)
    logging.getLogger(_REDUNDANT_LOGGER).setLevel(logging.CRITICAL)
