"""The archive of an account: a tar file, so that it is written and read in one go, and any tar opens it.

    manifest.json      format, version, account, cell; of each table its columns, rows and checksum
    tables/NAME.jsonl  a JSON object a row, with these columns
    assets/SHA256      a file, in the order of the rows of the table `assets`

Whoever reads it compares every checksum before a row is stored. Neither side holds more in memory than a row or a
piece, and a line for each file.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, NamedTuple

from scheduler_svc.domain.errors import InvalidArgument
from scheduler_svc.holdings.tables import ASSETS, OWN, movable

FORMAT = 1
PIECE = 256 * 1024
"""Bytes that are written or read at once."""
MAX_MANIFEST = 2**20
MAX_MEMBERS = 1_000_000
MAX_ROW = 2**27
"""Bytes of a row."""
_MANIFEST = "manifest.json"
_DAMAGE = (tarfile.TarError, ValueError, TypeError, LookupError, AttributeError, EOFError, RecursionError)


class Exported(NamedTuple):
    """A table in a temporary file, at its beginning: its rows, bytes and checksum."""

    file: IO[bytes]
    columns: tuple[str, ...]
    rows: int
    size: int
    sha256: str


def header(name: str, size: int) -> bytes:
    """Returns what stands before a member."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.GNU_FORMAT)


def padding(size: int) -> bytes:
    """Returns what stands behind a member of that many bytes."""
    return bytes(-size % tarfile.BLOCKSIZE)


def asset_sizes(file: IO[bytes]) -> Iterator[tuple[str, int]]:
    """Yields the SHA-256 and the bytes of each file, from the rows of the table `assets`."""
    for line in file:
        row = json.loads(line)
        yield row["sha256"], row["size"]


END = bytes(2 * tarfile.BLOCKSIZE)


def manifest(account_id: int, cell: int, version: str, tables: Mapping[str, Exported]) -> bytes:
    """Returns the first member."""
    described = {
        name: {"columns": table.columns, "rows": table.rows, "sha256": table.sha256} for name, table in tables.items()
    }
    document = {"format": FORMAT, "version": version, OWN: account_id, "cell": cell, "tables": described}
    data = json.dumps(document, indent=1).encode()
    return header(_MANIFEST, len(data)) + data + padding(len(data))


@contextmanager
def _as_damage() -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise damaged(str(error) or type(error).__name__) from None


def damaged(problem: str) -> InvalidArgument:
    return InvalidArgument.of(
        "chunk", f"must be the bytes of an archive of ExportAccount that is whole: {problem[:200]}"
    )


@dataclass(frozen=True)
class Member:
    """A part of the archive's file."""

    offset: int
    size: int


class Archive:
    """An archive in a file, whose checksums are right."""

    def __init__(self, file: BinaryIO) -> None:
        """Raises InvalidArgument for what is no archive, or not as it was written."""
        self._file = file
        self._members: dict[str, Member] = {}
        with _as_damage():
            self._find_members()
            self._read_manifest()
            for name in self.columns:
                self._check_table(name)
            if left := self._members.keys() - {_MANIFEST, *map(path_of, self.columns), *map(asset_path, self.assets())}:
                raise ValueError(f"{min(left)} is unknown")

    def _find_members(self) -> None:
        self._file.seek(0)
        with tarfile.open(fileobj=self._file, mode="r:") as tar:
            for info in tar:
                tar.members.clear()  # type: ignore[attr-defined] # else it would keep all of them
                if not info.isreg() or info.name in self._members:
                    raise ValueError(f"{info.name} is no file, or there twice")
                self._members[info.name] = Member(info.offset_data, info.size)
                if len(self._members) > MAX_MEMBERS:
                    raise ValueError("it has too many files")

    def _read_manifest(self) -> None:
        if self._members[_MANIFEST].size > MAX_MANIFEST:
            raise ValueError("its manifest is too long")
        read = json.loads(b"".join(self.pieces(_MANIFEST)))
        if read["format"] != FORMAT:
            raise ValueError(f"its format is {read['format']}, and this version reads {FORMAT}")
        self.account_id, self.cell = _number(read[OWN]), _number(read["cell"])
        self._described: Mapping[str, Any] = read["tables"]
        known = {table.name: set(table.columns) for table in movable()}
        self.columns: Mapping[str, tuple[str, ...]] = {}
        for name, table in self._described.items():
            self.columns[name] = tuple(table["columns"])
            if name not in known or not known[name].issuperset(self.columns[name]):
                raise ValueError(f"this version does not know its table {name}, or a column of that")
        if self._described["accounts"]["rows"] != 1:
            raise ValueError("it is not of one account")

    def _check_table(self, name: str) -> None:
        rows = 0
        for rows, line in enumerate(self.lines(name), start=1):
            row = json.loads(line)
            if row.keys() != set(self.columns[name]) or row.get(OWN, self.account_id) != self.account_id:
                raise ValueError(f"row {rows} of {name} is not of the account, or has other columns")
        if rows != self._described[name]["rows"] or self.checksum(path_of(name)) != self._described[name]["sha256"]:
            raise ValueError(f"{name} is not what the manifest says")

    def check_assets(self) -> None:
        """Raises InvalidArgument if a file is missing, or its bytes do not have its SHA-256 and size."""
        with _as_damage():
            for sha256, row in self.assets().items():
                if self._members[asset_path(sha256)].size != row["size"] or self.checksum(asset_path(sha256)) != sha256:
                    raise ValueError(f"the file {sha256} is not what it was")

    def assets(self) -> dict[str, Any]:
        """Returns the rows of the files by their SHA-256."""
        rows = map(json.loads, self.lines(ASSETS) if ASSETS in self.columns else ())
        return {row["sha256"]: row for row in rows}

    def asset(self, sha256: str) -> Iterator[bytes]:
        return self.pieces(asset_path(sha256))

    def lines(self, name: str) -> Iterator[str]:
        """Yields the rows of a table, as JSON."""
        member = self._members[path_of(name)]
        position, end = member.offset, member.offset + member.size
        while position < end:
            self._file.seek(position)
            line = self._file.readline(min(MAX_ROW, end - position))
            if not line.endswith(b"\n"):
                raise ValueError(f"a row of {name} is cut, or too long")
            position += len(line)
            yield line.decode()

    def pieces(self, member_name: str) -> Iterator[bytes]:
        member = self._members[member_name]
        for begin in range(0, member.size, PIECE):
            self._file.seek(member.offset + begin)
            piece = self._file.read(min(PIECE, member.size - begin))
            if not piece:
                raise EOFError(f"{member_name} is cut")
            yield piece

    def checksum(self, member_name: str) -> str:
        digest = hashlib.sha256()
        for piece in self.pieces(member_name):
            digest.update(piece)
        return digest.hexdigest()


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no number")
    return value


def path_of(table: str) -> str:
    return f"tables/{table}.jsonl"


def asset_path(sha256: str) -> str:
    return f"assets/{sha256}"
