"""Reads the text of a setting: durations, numbers, sizes, choices, lists, addresses, files.

Each reader raises ValueError with a text that completes "NAME=value: …".
"""

from __future__ import annotations

import ipaddress
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|min|m|h|d)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"([0-9]{1,18}) ?(B|KiB|MiB|GiB|TiB)?")
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}
_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[\w.-]*)):(?P<port>\d{1,5})", re.ASCII)
_MAX_PORT = 65535


def seconds_of(text: str) -> float | None:
    """Reads a number of seconds, or one with a unit, such as 90, 90s or 2m. Returns None for anything else."""
    match = _DURATION.fullmatch(text.strip())
    return float(match[1]) * _UNITS[match[2] or "s"] if match else None


def duration(minimum: float, maximum: float, *, or_none: bool = False) -> BeforeValidator:
    """Reads a duration from `minimum` to `maximum` seconds; `or_none` also allows 0."""

    def read(value: object) -> float:
        seconds = seconds_of(str(value))
        if seconds is None or not (minimum <= seconds <= maximum or (or_none and seconds == 0)):
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


def size(minimum: int, maximum: int) -> BeforeValidator:
    """Reads a number of bytes, or one with a unit."""

    def read(value: object) -> int:
        match = _SIZE.fullmatch(str(value).strip())
        number = int(match[1]) * _BYTES[match[2] or "B"] if match else -1
        if not minimum <= number <= maximum:
            raise ValueError(
                f"must be a size of {minimum:,} to {maximum:,} bytes, or a whole number with KiB, MiB, GiB or TiB,"
                " such as 3MiB"
            )
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


def by_comma(pattern: re.Pattern[str], what: str, example: str, *, lower: bool = False) -> BeforeValidator:
    """Reads a list of what matches `pattern`, such as `what="names of hosts"`."""

    def read(value: object) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        text = str(value).lower() if lower else str(value)
        names = tuple(name.strip() for name in text.split(",") if name.strip())
        if misfits := [name for name in names if not pattern.fullmatch(name)]:
            raise ValueError(f"must be {what}, separated by commas, such as {example}; {misfits[0]!r} is not")
        return names

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


def _not_empty(value: object) -> str:
    if not (text := str(value).strip()):
        raise ValueError("must not be empty")
    return text


def _readable(value: object) -> Path:
    path = Path(str(value))
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("it is none")
        path.open("rb").close()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"must be a file that can be read ({reason})") from None
    return path


ListenAddress = Annotated[
    Address, BeforeValidator(lambda value: value if isinstance(value, Address) else Address.parse(str(value)))
]
Text = Annotated[str, BeforeValidator(_not_empty)]
ReadableFile = Annotated[Path, BeforeValidator(_readable)]
LogLevel = Annotated[str, choice("debug", "info", "warning", "error")]
LogFormat = Annotated[str, choice("console", "json")]
