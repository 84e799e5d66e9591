"""The files that results name, in the worker's own folder until the result is acknowledged.

Layer: beside spool, above durable.

`assets/<lease>/<sha256>`: written and synced before the result is spooled, removed with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
from collections.abc import Collection, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

import structlog
from structlog.typing import FilteringBoundLogger

from worker_svc.durable import sync_folder
from worker_svc.outcome import Article, LeftOut, LeftOutReason, TakenAsset
from worker_svc.references import SCHEME, Reference, references, renamed
from worker_svc.run_files import LeftOutError, open_file, within

MAX_ASSETS = 100
"""Assets of one result, and entries of what is left out."""
MAX_BYTES = 32 * 1024 * 1024
MAX_ALL_BYTES = 128 * 1024 * 1024
MAX_NAME = 200
MAX_SOURCE = 500
_BLOCK = 1024 * 1024

_UNFIT = re.compile(r"[^\w./~+-]+")

_log: FilteringBoundLogger = structlog.get_logger()


class AssetFolder:
    """The assets of one worker folder."""

    def __init__(self, folder: Path, executor: Executor, max_result: int) -> None:
        """`executor` removes files. `max_result` bounds body and HTML together, in bytes."""
        self._folder = folder
        self._executor = executor
        self._max_result = max_result

    async def taken(self, lease_id: str, run_folder: Path, article: Article) -> Article:
        """Copies the files that the article names, durably, and returns the article that names them as assets.

        What can't be taken is left out, for a reason, and stays named as it is. So does all of it if the article would
        grow beyond its bound.
        """
        if not references(article):
            return article
        return await asyncio.to_thread(self._take, lease_id, run_folder, article)

    def _take(self, lease_id: str, run_folder: Path, article: Article) -> Article:
        taking = _Taking(self._path(lease_id), run_folder)
        for reference in references(article):
            taking.take(reference)
        taking.sync(self._folder)
        taken = replace(renamed(article, taking.names), assets=tuple(taking.assets.values()), left_out=taking.left_out)
        if taken.size > max(self._max_result, article.size):
            self.forget(lease_id)
            refused = tuple(LeftOut(it.source, LeftOutReason.TOO_LARGE) for it in taken.assets)
            return replace(article, left_out=(*refused, *taking.left_out)[:MAX_ASSETS])
        return taken

    def file(self, lease_id: str, sha256: str) -> Path:
        return self._path(lease_id) / sha256

    def forget(self, lease_id: str) -> None:
        """Removes the files of a result, soon."""
        path = self._path(lease_id)
        if path.exists():
            self._executor.submit(shutil.rmtree, path, ignore_errors=True)

    def sweep(self, keep: Collection[str]) -> None:
        """Removes what an earlier process left of other leases. Blocks."""
        for path in self._folder.iterdir():
            if unquote(path.name) not in keep:
                shutil.rmtree(path, ignore_errors=True)

    def _path(self, lease_id: str) -> Path:
        return self._folder / quote(lease_id, safe="").replace(".", "%2E")


class _Taking:
    """The files of one article, as they are taken."""

    def __init__(self, to: Path, run_folder: Path) -> None:
        self._to = to
        self._run_folder = run_folder
        self._by_path: dict[str, TakenAsset | LeftOutReason] = {}
        self.assets: dict[str, TakenAsset] = {}
        """By their names."""
        self.names: dict[str, str] = {}
        """New references by the text of the old ones."""
        self.left_out: tuple[LeftOut, ...] = ()

    def take(self, reference: Reference) -> None:
        taken = self._taken(reference)
        if isinstance(taken, TakenAsset):
            self.names[reference.text] = SCHEME + taken.name
        elif len(self.left_out) < MAX_ASSETS:
            self.left_out += (LeftOut(reference.text[:MAX_SOURCE], taken),)

    def sync(self, folder: Path) -> None:
        if self.assets:
            try:
                sync_folder(self._to)
                sync_folder(folder)
            except OSError as error:
                self._disk_failed(error)

    def _taken(self, reference: Reference) -> TakenAsset | LeftOutReason:
        if reference.address is not None:
            return LeftOutReason.HOST_NOT_ALLOWED
        reason = LeftOutReason.NOT_FOUND
        for path in reference.paths:
            try:
                return self._take_file(within(self._run_folder, path), reference.text)
            except LeftOutError as error:
                if reason is LeftOutReason.NOT_FOUND:
                    reason = error.reason
        return reason

    def _take_file(self, relative: str, source: str) -> TakenAsset:
        """Raises LeftOutError."""
        if relative not in self._by_path:
            try:
                self._by_path[relative] = self._copy(relative, source)
            except LeftOutError as error:
                self._by_path[relative] = error.reason
        taken = self._by_path[relative]
        if isinstance(taken, LeftOutReason):
            raise LeftOutError(taken)
        return taken

    def _copy(self, relative: str, source: str) -> TakenAsset:
        descriptor = open_file(self._run_folder, relative)
        try:
            size = os.fstat(descriptor).st_size
            if len(self.assets) == MAX_ASSETS:
                raise LeftOutError(LeftOutReason.TOO_MANY)
            if not 0 < size <= min(MAX_BYTES, MAX_ALL_BYTES - sum(it.size for it in self.assets.values())):
                raise LeftOutError(LeftOutReason.TOO_LARGE if size else LeftOutReason.NOT_FOUND)
            sha256 = self._write(_blocks(descriptor, size))
        except OSError as error:
            self._disk_failed(error)
            raise LeftOutError(LeftOutReason.FETCH_FAILED) from None
        finally:
            os.close(descriptor)
        asset = TakenAsset(self._free_name(relative), sha256, size, source[:MAX_SOURCE])
        self.assets[asset.name] = asset
        return asset

    def _write(self, blocks: Iterator[bytes]) -> str:
        """Writes a file, synced, under its SHA-256, and returns that. Raises OSError."""
        self._to.mkdir(mode=0o700, exist_ok=True)
        temporary, digest = self._to / "new", hashlib.sha256()
        with temporary.open("wb") as file:
            for block in blocks:
                digest.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._to / digest.hexdigest())
        return digest.hexdigest()

    def _free_name(self, path: str) -> str:
        """A name that no text has to escape, and that no other asset has."""
        fit = PurePosixPath(_UNFIT.sub("-", path)[-MAX_NAME:].lstrip("/"))
        stem, suffix = str(fit).removesuffix(fit.suffix), fit.suffix
        name, number = stem + suffix, 1
        while name in self.assets:
            number += 1
            tail = f"-{number}{suffix}"
            name = stem[: MAX_NAME - len(tail)] + tail
        return name

    def _disk_failed(self, error: OSError) -> None:
        _log.error("a file of a result can't be kept", action="asset.refused", error=str(error))


def _blocks(descriptor: int, size: int) -> Iterator[bytes]:
    """The first `size` bytes of a file. Raises OSError if it has become shorter."""
    left = size
    while left:
        block = os.read(descriptor, min(_BLOCK, left))
        if not block:
            raise OSError("it became shorter while it was read")
        left -= len(block)
        yield block
