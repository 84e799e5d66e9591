"""Reads the text of a setting: database, folders, networks, buckets. Part of `scheduler_svc.config`.

Each reader raises ValueError with a text that completes "NAME=value: …".
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from pydantic import BeforeValidator, DirectoryPath, FilePath, PlainValidator

_DATABASE_URL = re.compile(r"postgres(?:ql)?(?:\+psycopg2)?://")
_HOST = r"[\w.-]+(?::\d{1,5})?"
_SEVERAL_HOSTS = re.compile(rf"(?P<login>[^@]*@)?(?P<hosts>{_HOST}(?:,{_HOST})+)(?P<rest>[/?].*)?", re.ASCII)
_PLACE = r"(?:\[[^\[\]@,]*\]|[^\[\]:@,]*)(?::\d{0,5})?"
_HOSTS = re.compile(rf"{_PLACE}(?:,{_PLACE})*", re.ASCII)


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


def _url_in_file(value: object) -> str:
    """Reads the file of this path. Raises ValueError, without the value: it may be the URL, put there by mistake."""
    try:
        text = Path(str(value)).expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"must be the path of a file that can be read ({error.strerror})") from None
    except ValueError:
        raise ValueError("must be the path of a file that holds the URL and nothing else") from None
    try:
        return _database_url(text)
    except ValueError as error:
        raise ValueError(f"the URL in the file {error}") from None


def check_location(rest: str) -> None:
    """Raises ValueError if a URL without its scheme can't be parsed safely.

    Unencoded parts of a password would be taken for a host, and shown in errors.
    """
    login, separator, place = rest.partition("@")
    hosts = re.split("[/?]", place if separator else login, maxsplit=1)[0]
    if "@" in (place if separator else "").partition("?")[0] or not _HOSTS.fullmatch(hosts):
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
    """Returns a path that the system accepts, whether it exists or not."""
    try:
        Path(str(value)).exists()
    except (OSError, ValueError) as error:  # the system takes no such name
        raise ValueError(f"must be a path ({error.strerror if isinstance(error, OSError) else error})") from None
    return value


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(value: object) -> tuple[Network, ...]:
    """Reads networks by comma; an address alone is a network of one."""
    try:
        return tuple(ipaddress.ip_network(text.strip()) for text in str(value).split(",") if text.strip())
    except ValueError as error:
        raise ValueError(f"must be networks by comma, such as 10.1.0.0/16,127.0.0.1,::1 ({error})") from None


Networks = Annotated[tuple[Network, ...], BeforeValidator(_networks)]


MAX_METRICS_ACCOUNTS = 100


def _account_ids(value: object) -> tuple[int, ...]:
    ids = [text.strip() for text in str(value).split(",") if text.strip()]
    if not all(text.isdecimal() and text.isascii() and 0 < int(text) < 1 << 63 for text in ids):
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


def _http_url(value: object) -> str:
    text = str(value).strip().rstrip("/")
    if not re.fullmatch(r"https?://[^\s@?#]+", text):
        raise ValueError("must be http:// or https://, a host and perhaps a path, without user, query or fragment")
    return text


HttpUrl = Annotated[str, BeforeValidator(_http_url)]
DatabaseUrl = Annotated[str, BeforeValidator(_database_url)]
UrlInFile = Annotated[str, BeforeValidator(_url_in_file)]
AssetLocation = Annotated[Path | Bucket, PlainValidator(_asset_location)]
Folder = Annotated[Path, BeforeValidator(_folder)]
PresentFile = Annotated[FilePath, BeforeValidator(_nameable)]
PresentFolder = Annotated[DirectoryPath, BeforeValidator(_nameable)]
