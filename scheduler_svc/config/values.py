"""Reads the text of a setting: durations, numbers, choices, addresses, folders. Part of `scheduler_svc.config`.

Each reader raises ValueError with a text that completes "NAME=value …".
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from pydantic import BeforeValidator, DirectoryPath, FilePath, PlainValidator

_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|min|m|h|d)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"([0-9]{1,18}) ?(B|KiB|MiB|GiB|TiB)?")
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}
_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[\w.-]*)):(?P<port>\d{1,5})", re.ASCII)
_DATABASE_URL = re.compile(r"postgres(?:ql)?(?:\+psycopg2)?://")
_HOST = r"[\w.-]+(?::\d{1,5})?"
_SEVERAL_HOSTS = re.compile(rf"(?P<login>[^@]*@)?(?P<hosts>{_HOST}(?:,{_HOST})+)(?P<rest>[/?].*)?", re.ASCII)
_PLACE = r"(?:\[[^\[\]@,]*\]|[^\[\]:@,]*)(?::\d{0,5})?"
_HOSTS = re.compile(rf"{_PLACE}(?:,{_PLACE})*", re.ASCII)
_MAX_PORT = 65535


def duration(minimum: float, maximum: float, *, or_none: bool = False) -> BeforeValidator:
    """Reads a number of seconds, or one with a unit, from `minimum` to `maximum`; `or_none` also allows 0."""

    def read(value: object) -> float:
        match = _DURATION.fullmatch(str(value).strip())
        seconds = float(match[1]) * _UNITS[match[2] or "s"] if match else -1.0
        if not minimum <= seconds <= maximum and not (or_none and seconds == 0):
            off = ", or 0" if or_none else ""
            raise ValueError(f"must be a duration of {minimum:g} s to {maximum:g} s, such as 90, 90s or 2m{off}")
        return seconds

    return BeforeValidator(read)


def whole_number(minimum: int, maximum: int) -> BeforeValidator:

    def read(value: object) -> int:
        text = str(value).strip()
        number = int(text) if re.fullmatch(r"[0-9]{1,18}", text) else -1
        if not minimum <= number <= maximum:
            raise ValueError(f"must be a whole number from {minimum:,} to {maximum:,}")
        return number

    return BeforeValidator(read)


def size(maximum: int) -> BeforeValidator:
    """Reads a number of bytes, or one with a unit, up to `maximum`."""

    def read(value: object) -> int:
        match = _SIZE.fullmatch(str(value).strip())
        number = int(match[1]) * _BYTES[match[2] or "B"] if match else -1
        if not 0 <= number <= maximum:
            raise ValueError("must be a size: bytes, or a whole number with KiB, MiB, GiB or TiB, such as 10GiB")
        return number

    return BeforeValidator(read)


def choice(*names: str) -> BeforeValidator:
    """Reads one of `names`, in any case."""

    def read(value: object) -> str:
        name = str(value).strip().lower()
        if name not in names:
            raise ValueError(f"must be {', '.join(names[:-1])} or {names[-1]}")
        return name

    return BeforeValidator(read)


@dataclass(frozen=True, slots=True)
class Address:
    """An address to listen on. `port` 0: the system picks one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads `host:port`, `[ipv6]:port` or `:port`, which is loopback."""
        match = _ADDRESS.fullmatch(text.strip())
        if match is None or int(match["port"]) > _MAX_PORT:
            raise ValueError("must be host:port, such as 127.0.0.1:50051, [::1]:50051 or :0 (loopback, any free port)")
        host = match["ipv6"] or match["host"] or "127.0.0.1"
        if match["ipv6"]:
            ipaddress.IPv6Address(host)
        return cls(host, int(match["port"]))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it. Names other than `localhost` count as wider."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _address(value: object) -> Address:
    return value if isinstance(value, Address) else Address.parse(str(value))


def _database_url(value: object) -> str:
    """Names the driver, since SQLAlchemy's default is another one. Several hosts become parameters, as it requires."""
    text = str(value).strip()
    prefix = _DATABASE_URL.match(text)
    if prefix is None:
        raise ValueError("must begin with postgresql:// (PostgreSQL is the only database)")
    rest = text[prefix.end() :]
    check_location(rest)
    if several := _SEVERAL_HOSTS.fullmatch(rest):
        path, _, query = (several["rest"] or "/").partition("?")
        hosts = [f"host={host}" for host in several["hosts"].split(",")]
        rest = f"{several['login'] or ''}{path or '/'}?{'&'.join([*hosts, *([query] if query else [])])}"
    return "postgresql+psycopg2://" + rest


@dataclass(frozen=True, slots=True)
class DatabaseUrlFile:
    """A file that holds the URL of a database, read once."""

    path: Path
    url: str = field(repr=False)

    @classmethod
    def read(cls, value: object) -> DatabaseUrlFile:
        """Raises ValueError, without the value: it may be the URL, put there by mistake."""
        if isinstance(value, DatabaseUrlFile):
            return value
        path = Path(str(value)).expanduser()
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(f"must be the path of a file that can be read ({error.strerror})") from None
        except ValueError:
            raise ValueError("must be the path of a file that holds the URL and nothing else") from None
        try:
            return cls(path, _database_url(text))
        except ValueError as error:
            raise ValueError(f"the URL in the file {error}") from None


def check_location(rest: str) -> None:
    """Raises ValueError if a URL without its scheme can't be parsed safely.

    Unencoded parts of a password would be taken for a host, and shown in errors.
    """
    login, at, place = rest.partition("@")
    hosts = re.split("[/?]", place if at else login, maxsplit=1)[0]
    if "@" in (place if at else "").partition("?")[0] or not _HOSTS.fullmatch(hosts):
        raise ValueError(
            "must be postgresql://user:password@host:5432/database, several hosts by comma, with the password's"
            " @ : / ? # % as %40 %3A %2F %3F %23 %25"
        )


def _folder(value: object) -> Path:
    text = str(value).strip()
    if not text:
        raise ValueError("must be the path of a folder")
    return Path(text).expanduser().absolute()


def _nameable(value: object) -> object:
    """A path that the system accepts, whether it exists or not."""
    try:
        Path(str(value)).exists()
    except (OSError, ValueError) as error:  # the system takes no such name
        raise ValueError(f"must be a path ({error.strerror if isinstance(error, OSError) else error})") from None
    return value


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(value: object) -> tuple[Network, ...]:
    """Networks by comma; an address alone is a network of one."""
    try:
        return tuple(ipaddress.ip_network(text.strip()) for text in str(value).split(",") if text.strip())
    except ValueError as error:
        raise ValueError(f"must be networks by comma, such as 10.1.0.0/16,127.0.0.1,::1 ({error})") from None


Networks = Annotated[tuple[Network, ...], BeforeValidator(_networks)]


MAX_METRICS_ACCOUNTS = 100


def _account_ids(value: object) -> tuple[int, ...]:
    ids = [text.strip() for text in str(value).split(",") if text.strip()]
    if not all(each.isdecimal() and each.isascii() and 0 < int(each) < 1 << 63 for each in ids):
        raise ValueError("must be ids of accounts by comma, such as 1,42")
    if len(ids) > MAX_METRICS_ACCOUNTS:
        raise ValueError(f"must name at most {MAX_METRICS_ACCOUNTS} accounts, names {len(ids)}")
    return tuple(dict.fromkeys(map(int, ids)))


AccountIds = Annotated[tuple[int, ...], BeforeValidator(_account_ids)]


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket of an S3 service. Credentials come from the environment, as AWS_ACCESS_KEY_ID and so on.

    `prefix` is empty or ends without a slash; `endpoint` None: that of AWS; `region` None: AWS_REGION.
    """

    name: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None

    @classmethod
    def parse(cls, text: str) -> Bucket:
        """Reads `s3://bucket/prefix?endpoint=URL&region=NAME`."""
        url = urlsplit(text)
        options = parse_qs(url.query, keep_blank_values=True)
        endpoint = options.get("endpoint", [None])[-1]
        if (
            not _BUCKET.fullmatch(url.netloc)
            or set(options) - {"endpoint", "region"}
            or url.fragment
            or (endpoint is not None and urlsplit(endpoint).scheme not in {"http", "https"})
        ):
            raise ValueError(
                "must be the path of a folder, or s3://bucket/prefix?endpoint=https://host:9000&region=us-east-1, where"
                " all but the bucket may be left out; credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        return cls(url.netloc, url.path.strip("/"), endpoint, options.get("region", [None])[-1])

    def __str__(self) -> str:
        return f"s3://{self.name}/{self.prefix}".rstrip("/")


_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def _asset_location(value: object) -> Path | Bucket:
    if isinstance(value, Path | Bucket):
        return value
    text = str(value).strip()
    return Bucket.parse(text) if text.startswith("s3:") else _folder(text)


ListenAddress = Annotated[Address, BeforeValidator(_address)]
DatabaseUrl = Annotated[str, BeforeValidator(_database_url)]
UrlFile = Annotated[DatabaseUrlFile, PlainValidator(DatabaseUrlFile.read)]
AssetLocation = Annotated[Path | Bucket, PlainValidator(_asset_location)]
Folder = Annotated[Path, BeforeValidator(_folder)]
PresentFile = Annotated[FilePath, BeforeValidator(_nameable)]
PresentFolder = Annotated[DirectoryPath, BeforeValidator(_nameable)]
