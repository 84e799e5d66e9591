"""The scheduler's settings: one frozen, validated object, its command line, and the logging that follows it.

A field's docstring is its text in `--help`: what it means, its unit, its default, what unset means.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import Field, ValidationInfo, field_validator

from contentgen import variables
from contentgen.service import logs
from contentgen.service import settings as service
from contentgen.service.settings import (
    FlagParser,
    ServiceSettings,
    add_flags,
    from_environment_only,
    together,
    variable_of,
)
from contentgen.service.values import Address, ListenAddress, LogFormat, LogLevel, duration, size, whole_number
from scheduler_svc.config.values import (
    AccountIds,
    AssetLocation,
    Bucket,
    DatabaseUrl,
    Folder,
    HttpUrl,
    Networks,
    PresentFile,
    PresentFolder,
    UrlInFile,
)

HOUR = 3_600.0
DAY = 86_400.0
MAX_HEARTBEAT_INTERVAL = 10.0
T = TypeVar("T")
_SHARED = "shared"
Shared = Annotated[T, _SHARED]
"""A setting that all schedulers of a database must agree on: `contentgen doctor` names those that differ."""


class Settings(ServiceSettings):
    SECRETS: ClassVar[frozenset[str]] = frozenset({"database_url", "database_url_file", "pool_url", "read_url"})
    """The URL may have been set where the path of its file belongs."""

    # the value is the URL that the file holds, not the file's path
    database_url_file: UrlInFile | None = Field(default=None, validation_alias="DATABASE_URL_FILE", repr=False)
    """File that holds the URL, instead of DATABASE_URL, such as a mounted secret; read at start. Default: unset."""

    database_url: DatabaseUrl | None = Field(
        default=None, validation_alias="DATABASE_URL", validate_default=True, repr=False
    )
    """URL of the PostgreSQL to use. Default: unset, an embedded PostgreSQL in the data folder."""

    pool_url: DatabaseUrl | None = Field(default=None, repr=False)
    """URL of that database through a PgBouncer that pools by transaction, for calls, watches and loops: eight
    connections stay with DATABASE_URL, which must keep sessions. Default: unset, all have connections of their own."""

    read_url: DatabaseUrl | None = Field(default=None, repr=False)
    """URL of a streaming standby of that database, or of several, for reads that may be a moment old: lists, counts and
    history. Default: unset, all reads go to the primary."""

    read_max_lag: Annotated[float, duration(0.5, HOUR)] = 5.0
    """How far the standby may be behind; beyond it, and while it does not answer, its reads go to the primary.
    Default: 5s"""

    require_database_url: bool = False
    """Refuse to start without DATABASE_URL, instead of using an embedded PostgreSQL. Default: off."""

    data_dir: Folder = Path(".contentgen")
    """Folder of the embedded PostgreSQL. With DATABASE_URL it holds the identity of that database, and must survive
    restarts. Default: ./.contentgen"""

    assets: AssetLocation | None = None
    """Where the pictures and other files of contents are kept: a folder, which all schedulers of a database must share;
    or s3://bucket/prefix?endpoint=https://host:9000 for any service that speaks S3, with credentials from the
    environment, as AWS_ACCESS_KEY_ID. Default: `assets` in the data folder."""

    max_asset_bytes: Shared[Annotated[int, size(0, 2**62)]] = 10 * 1024**3
    """How much the files of an account may take in all, unless its `max_asset_bytes` says otherwise: bytes, or a whole
    number with KiB, MiB, GiB or TiB; 0: any amount. What is beyond it is left out of results. Default: 10GiB"""

    listen: ListenAddress = Address("127.0.0.1", 50051)
    """host:port to serve gRPC on; `:0` is loopback with any free port. Default: 127.0.0.1:50051"""

    metrics_listen: ListenAddress | None = None
    """host:port to serve /metrics, /livez and /readyz on by HTTP, without TLS or tokens; `:0` is loopback with any free
    port. Default: unset, none."""

    metrics_accounts: AccountIds = ()
    """Accounts, by comma, such as 1,42, whose tasks /metrics tells of by themselves, 100 at most: each has ten series.
    Default: unset, none."""

    scaler_listen: ListenAddress | None = None
    """host:port to serve KEDA's externalscaler.ExternalScaler on: the number of tasks that need workers, without
    tokens, with the certificates of the API if there are any. Default: unset, not served."""

    tls_cert: PresentFile | None = None
    """PEM file with the certificate chain. Default: unset, plaintext and loopback only."""

    tls_key: PresentFile | None = None
    """PEM file with the certificate's private key. Default: unset."""

    tls_client_ca: PresentFile | None = None
    """PEM file with the authorities of client certificates, which are then required. Default: unset, not required."""

    tokens_file: PresentFile | None = None
    """File of tokens: one JSON object a line with name, sha256, role (client, reviewer, publisher, viewer, worker or
    operator) and, if the token is tied to accounts, accounts. Reloaded when it changes, or on HUP.
    `contentgen-scheduler token create` adds to it. Default: unset, tokens are not required."""

    insecure: bool = False
    """Allow an address wider than loopback without TLS, or without tokens and client certificates. Default: off."""

    lease_ttl: Shared[Annotated[float, duration(5, DAY)]] = 120.0
    """How long a lease lasts without renewal, and so how long a silent worker's task waits; at least 5 s. Workers stop
    their CLIs in an outage that lasts 30 s less than this. Default: 2m"""

    lock_timeout: Annotated[float, duration(0.1, 60)] = 2.0
    """How long a statement waits for a lock of another session of the database. After that the call is UNAVAILABLE;
    workers' messages and submits are retried without holding up others. At most a quarter of the heartbeat interval.
    Default: 2s"""

    statement_timeout: Annotated[float, duration(1, HOUR)] = 10.0
    """How long a statement of a client's call may take; after that the call is UNAVAILABLE. Statements that serve many
    callers at once have other bounds. Default: 10s"""

    max_queue_size: Shared[Annotated[int, whole_number(1, 1_000_000_000)]] = 1_000_000
    """Pending tasks beyond which submits are refused. Tasks scheduled for the day after tomorrow (UTC) or later don't
    count. Default: 1000000"""

    max_worker_losses: Shared[Annotated[int, whole_number(1, 1_000)]] = 5
    """Lost leases in a row after which a task stays failed. Default: 5"""

    max_deferrals: Shared[Annotated[int, whole_number(1, 10_000)]] = 100
    """Deferrals of a task in a row of which the last counts as a failure and uses a retry; 1: each one. Default: 100"""

    max_publish_attempts: Shared[Annotated[int, whole_number(1, 1_000)]] = 3
    """Failed attempts to publish after which an entry of the publish pool stays failed. Default: 3"""

    publish_backoff: Shared[Annotated[float, duration(0.1, HOUR)]] = 60.0
    """How long an entry of the publish pool waits after its first failed attempt; doubled after each further one, up
    to 1 h. Default: 1m"""

    priority_aging: Shared[Annotated[float, duration(1, 7 * DAY, or_none=True)]] = 0.0
    """How long a task must be ready for each priority that it competes above its own (up to 10), such as 15m. Must be
    the same for all schedulers. Default: 0, off: tasks of lower priority wait while there are any of higher ones."""

    retention: Shared[Annotated[float, duration(1, 3_650 * DAY)] | None] = None
    """How long ended tasks are kept, such as 30d; contents and the publish pool stay. Default: unset, until
    CleanupTasks."""

    content_retention: Shared[Annotated[float, duration(1, 3_650 * DAY)] | None] = None
    """How long contents and their pool entries are kept, such as 365d, in any state of review. A claimed entry stays
    meanwhile; a scheduled one is kept for as long after its time. Import marks of an old database are kept for as long
    after its last import. Default: unset, forever."""

    audit_retention: Shared[Annotated[float, duration(1, 3_650 * DAY)]] = 400 * DAY
    """How long audit events are kept, such as 400d. Default: 400d"""

    webhook_allow: Shared[Networks] = ()
    """Networks beyond public ones that webhooks may have addresses in, by comma, such as 10.1.0.0/16,127.0.0.1; http is
    allowed to these only. Default: unset, public addresses by https; loopback and private networks are refused."""

    cell: Shared[Annotated[int, whole_number(0, 1_023)]] = 0
    """Which deployment this is, 0 to 1023: part of each id, so that accounts can move between deployments of different
    cells. Fixed at the first start of a database: with another value later no scheduler starts. Default: 0"""

    console_url: Shared[HttpUrl | None] = None
    """Where people reach the console, such as https://desk.example, for the links in messages of channels. Default:
    unset, messages without links."""

    pg_bindir: PresentFolder | None = None
    """Folder with PostgreSQL's programs, for the embedded database and backups. Default: unset, those of the installed
    package, else of the system."""

    log_level: LogLevel = "info"
    """debug, info, warning or error. Default: info"""

    log_format: LogFormat | None = None
    """console or json. Default: unset, console on a terminal, else json."""

    @property
    def asset_location(self) -> Path | Bucket:
        return self.assets or self.data_dir / "assets"

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between two heartbeats of a worker, at most: a third of the lease time, but no more than 10 s."""
        return min(self.lease_ttl / 3, MAX_HEARTBEAT_INTERVAL)

    @property
    def lock_wait(self) -> float:
        """Seconds that a statement waits for a lock: short enough that a lane which waits is not taken for stalled."""
        return min(self.lock_timeout, self.heartbeat_interval / 4)

    @property
    def shared(self) -> dict[str, str]:
        """What all schedulers of a database must agree on, by variable, as text."""
        names = (name for name, field in Settings.model_fields.items() if _SHARED in field.metadata)
        return {variable_of(Settings, name): _text(getattr(self, name)) for name in names}

    @property
    def tls(self) -> bool:
        return self.tls_cert is not None

    @field_validator("database_url")
    @classmethod
    def _from_file(cls, url: str | None, info: ValidationInfo) -> str | None:
        url_in_file: str | None = info.data.get("database_url_file")
        if url is not None and url_in_file is not None:
            raise ValueError("exactly one of DATABASE_URL and DATABASE_URL_FILE may be set: unset the other one")
        return url if url_in_file is None else url_in_file

    def conflicts(self) -> list[str]:
        problems = [*together(self, "tls_cert", "tls_key")]
        if self.tls_client_ca and not self.tls_cert:
            problems.append("CONTENTGEN_TLS_CLIENT_CA asks for CONTENTGEN_TLS_CERT and CONTENTGEN_TLS_KEY")
        asks = self.tokens_file or self.tls_client_ca
        if not (self.listen.is_loopback or self.insecure or (self.tls_cert and asks)):
            missing = [] if self.tls_cert else ["CONTENTGEN_TLS_CERT and CONTENTGEN_TLS_KEY"]
            missing += [] if asks else ["CONTENTGEN_TOKENS_FILE or CONTENTGEN_TLS_CLIENT_CA"]
            problems.append(
                f"CONTENTGEN_LISTEN={self.listen} is wider than loopback: listen on 127.0.0.1, or set"
                f" {', and '.join(missing)}, or set CONTENTGEN_INSECURE=on where everyone who reaches it may be trusted"
            )
        scaler = self.scaler_listen
        if scaler and not (scaler.is_loopback or self.insecure or self.tls_cert):
            problems.append(
                f"CONTENTGEN_SCALER_LISTEN={scaler} is wider than loopback: listen on 127.0.0.1, or set"
                " CONTENTGEN_TLS_CERT and CONTENTGEN_TLS_KEY, or set CONTENTGEN_INSECURE=on where everyone who reaches"
                " it may be trusted"
            )
        if not self.database_url:
            beside = {"CONTENTGEN_POOL_URL": self.pool_url, "CONTENTGEN_READ_URL": self.read_url}
            problems += [
                f"{name} asks for DATABASE_URL, whose database it leads to" for name, url in beside.items() if url
            ]
        if self.require_database_url and not self.database_url:
            problems.append(
                "DATABASE_URL or DATABASE_URL_FILE must be set, since CONTENTGEN_REQUIRE_DATABASE_URL is on: without,"
                " an embedded PostgreSQL in the data folder would be used"
            )
        return problems


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g} s" if isinstance(value, float) else str("" if value is None else value)


# The command line.


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
    return service.read_settings(Settings, parser, arguments)


def settings_parser(program: str, description: str, names: Iterable[str]) -> FlagParser:
    parser = FlagParser(program, description=description, epilog=from_environment_only(Settings))
    add_flags(parser, Settings, names)
    return parser


def settings_of(flags: Mapping[str, Any]) -> Settings:
    """Returns the settings of these flags, by the settings' names, and the environment. Raises SettingsError."""
    return service.settings_of(Settings, flags)


# Logs.


_UNSENT = ("grpc._cython.cygrpc", "InternalError")
"""The class of gRPC's exception for an unsent answer, by name: settings are read before gRPC is imported."""


def configure_logging(settings: Settings) -> None:
    """Configures structlog and the root logger, also for loggers that exist already."""
    logs.configure_logging(settings.log_level, settings.log_format, filters=[_is_our_concern])


def _is_our_concern(record: logging.LogRecord) -> bool:
    """Drops, unless debugging, gRPC's errors about answers that could not be sent because the caller hung up."""
    kinds = record.exc_info[0].__mro__ if record.exc_info and record.exc_info[0] else ()
    unsent = any((kind.__module__, kind.__name__) == _UNSENT for kind in kinds)
    return not unsent or logging.root.level <= logging.DEBUG


# Warnings at start about the environment: variables that are probably mistakes.


def notices(environ: Mapping[str, str]) -> Iterator[str]:
    yield from empty_url(environ)
    yield from variables.notices(environ)


def empty_url(environ: Mapping[str, str]) -> Iterator[str]:
    if environ.get("DATABASE_URL") == "" and not environ.get("DATABASE_URL_FILE"):
        yield "DATABASE_URL is empty, which counts as unset: an embedded PostgreSQL is used"
