"""The files that results name, in the worker's own folder until the result is acknowledged.

Layer: beside spool, above durable.

`assets/<lease>/<sha256>`: written and synced before the result is spooled, removed with it. `<lease>` is the SHA-256 of
the lease's id: whatever a scheduler takes for an id, it is the name of a folder in here.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import structlog
from structlog.typing import FilteringBoundLogger

from worker_svc.durable import sync_folder
from worker_svc.fetching import Fetcher
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

    def __init__(self, folder: Path, executor: Executor, max_result: int, fetcher: Fetcher | None = None) -> None:
        """`executor` removes files. `max_result` bounds body and HTML together, in bytes.

        `fetcher` reads what is named by an address; None: nothing is.
        """
        self._folder = folder
        self._fetcher = fetcher
        self._executor = executor
        self._max_result = max_result

    def may_fetch(self, article: Article) -> bool:
        """Whether the article names an address that may be read."""
        if self._fetcher is None:
            return False
        addresses = (reference.address for reference in references(article))
        return any(address is not None and self._fetcher.allows(address) for address in addresses)

    async def taken(self, lease_id: str, run_folder: Path, article: Article, *, fetches: bool = False) -> Article:
        """Copies the files that the article names, durably, and returns the article that names them as assets.

        What can't be taken is left out, for a reason, and stays named as it is. So does all of it if the article would
        grow beyond its bound. `fetches`: reads addresses too, which may take minutes.
        """
        if not references(article):
            return article
        return await asyncio.to_thread(self._take, lease_id, run_folder, article, fetches)

    def _take(self, lease_id: str, run_folder: Path, article: Article, fetches: bool) -> Article:
        taking = _Taking(self._path(lease_id), run_folder, self._fetcher, fetches=fetches)
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
        kept = {self._path(lease_id).name for lease_id in keep}
        for path in self._folder.iterdir():
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def _path(self, lease_id: str) -> Path:
        return self._folder / hashlib.sha256(lease_id.encode()).hexdigest()


class _Taking:
    """The files of one article, as they are taken."""

    def __init__(self, to: Path, run_folder: Path, fetcher: Fetcher | None, *, fetches: bool) -> None:
        """`fetches`: whether addresses that `fetcher` allows are read now; else they count as failed."""
        self._to = to
        self._run_folder = run_folder
        self._fetcher = fetcher
        self._fetches = fetches
        self._by_place: dict[str, TakenAsset | LeftOutReason] = {}
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
            return self._once(reference.address, lambda: self._fetch(str(reference.address), reference.text))
        reason = LeftOutReason.NOT_FOUND
        for path in reference.paths:
            try:
                relative = within(self._run_folder, path)
            except LeftOutError as error:
                taken: TakenAsset | LeftOutReason = error.reason
            else:
                taken = self._once(relative, partial(self._copy, relative, reference.text))
            if isinstance(taken, TakenAsset):
                return taken
            if reason is LeftOutReason.NOT_FOUND:
                reason = taken
        return reason

    def _once(self, place: str, take: Callable[[], TakenAsset]) -> TakenAsset | LeftOutReason:
        """What `take` returns, or why it does not; for a place that is named again, the same."""
        if place not in self._by_place:
            try:
                if len(self.assets) == MAX_ASSETS:
                    raise LeftOutError(LeftOutReason.TOO_MANY)
                self._by_place[place] = take()
            except LeftOutError as error:
                self._by_place[place] = error.reason
        return self._by_place[place]

    def _copy(self, relative: str, source: str) -> TakenAsset:
        """Raises LeftOutError."""
        descriptor = open_file(self._run_folder, relative)
        try:
            size = os.fstat(descriptor).st_size
            if not 0 < size <= self._space:
                raise LeftOutError(LeftOutReason.TOO_LARGE if size else LeftOutReason.NOT_FOUND)
            return self._keep(relative, _blocks(descriptor, size), source)
        finally:
            os.close(descriptor)

    def _fetch(self, address: str, source: str) -> TakenAsset:
        """Raises LeftOutError."""
        if self._fetcher is None or not self._fetcher.allows(address):
            raise LeftOutError(LeftOutReason.HOST_NOT_ALLOWED)
        if not self._fetches:
            raise LeftOutError(LeftOutReason.FETCH_FAILED)
        name = unquote(PurePosixPath(urlsplit(address).path).name) or "picture"
        return self._keep(name, self._fetcher.fetch(address, self._space), source)

    @property
    def _space(self) -> int:
        """Bytes that the next asset may have."""
        return min(MAX_BYTES, MAX_ALL_BYTES - sum(it.size for it in self.assets.values()))

    def _keep(self, path: str, blocks: Iterator[bytes], source: str) -> TakenAsset:
        """Writes a file, synced, under its SHA-256. Raises LeftOutError."""
        try:
            self._to.mkdir(mode=0o700, exist_ok=True)
            temporary, digest, size = self._to / "new", hashlib.sha256(), 0
            with temporary.open("wb") as file:
                for block in blocks:
                    digest.update(block)
                    size += file.write(block)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self._to / digest.hexdigest())
        except OSError as error:
            self._disk_failed(error)
            raise LeftOutError(LeftOutReason.FETCH_FAILED) from None
        asset = TakenAsset(self._free_name(path), digest.hexdigest(), size, source[:MAX_SOURCE])
        self.assets[asset.name] = asset
        return asset

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
