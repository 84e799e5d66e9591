"""The files that results name, in the worker's own folder until the result is acknowledged.

`assets/<lease>/<sha256>`: written and synced before the result is spooled, removed with it. `<lease>` is the SHA-256 of
the lease's id: whatever a scheduler takes for an id, it is the name of a folder in here.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import structlog

from contentgen.service.durable import sync_folder
from worker_svc.asset_sources import Fetcher, LeftOutError, on_own_thread, open_file, within
from worker_svc.outcome import Article, LeftOut, LeftOutReason, TakenAsset
from worker_svc.references import SCHEME, Reference, references, renamed

MAX_ASSETS = 100
"""Assets of one result, addresses that are read for it, and entries of what is left out."""
MAX_BYTES = 32 * 1024 * 1024
MAX_ALL_BYTES = 128 * 1024 * 1024
MAX_NAME = 200
MAX_SOURCE = 500
_BLOCK = 1024 * 1024

_UNFIT = re.compile(r"[^\w./~+-]+")

_log = structlog.get_logger()


class AssetFolder:
    def __init__(self, folder: Path, executor: Executor, max_result: int, fetcher: Fetcher | None = None) -> None:
        """`executor` removes files. `max_result` bounds body and HTML together, in bytes.

        `fetcher` reads what is named by an address; None: nothing is.
        """
        self._folder = folder
        self._fetcher = fetcher
        self._executor = executor
        self._max_result = max_result

    def may_fetch(self, article: Article) -> bool:
        if self._fetcher is None:
            return False
        addresses = (reference.address for reference in references(article))
        return any(address is not None and self._fetcher.allows(address) for address in addresses)

    async def taken(
        self, lease_id: str, run_folder: Path, article: Article, fetch_within: float | None = None
    ) -> Article:
        """Copies the files that the article names, durably, and returns the article that names them as assets.

        What can't be taken is left out, for a reason, and stays named as it is. So does all of it if the article would
        grow beyond its bound. `fetch_within`: reads addresses too, for so many seconds in all.
        """
        if not references(article):
            return article
        if fetch_within is None:
            return await asyncio.to_thread(self._take, lease_id, run_folder, article)
        deadline = time.monotonic() + fetch_within
        # neither uploads nor the exit wait
        return await asyncio.wrap_future(on_own_thread(lambda: self._take(lease_id, run_folder, article, deadline)))

    def _take(self, lease_id: str, run_folder: Path, article: Article, fetch_until: float | None = None) -> Article:
        taking = _Taking(self._path(lease_id), run_folder, self._fetcher, fetch_until)
        for reference in references(article):
            taking.take(reference)
        taking.sync(self._folder)
        full_article = replace(
            renamed(article, taking.names), assets=tuple(taking.assets.values()), left_out=taking.left_out
        )
        if full_article.size > max(self._max_result, article.size):
            self.forget(lease_id)
            too_large = tuple(LeftOut(asset.source, LeftOutReason.TOO_LARGE) for asset in full_article.assets)
            return replace(article, left_out=(*too_large, *taking.left_out)[:MAX_ASSETS])
        return full_article

    def file(self, lease_id: str, sha256: str) -> Path:
        return self._path(lease_id) / sha256

    def forget(self, lease_id: str) -> None:
        """Removes the files of a result, soon."""
        path = self._path(lease_id)
        if path.exists():
            self._executor.submit(shutil.rmtree, path, ignore_errors=True)

    def sweep(self, keep: Collection[str]) -> None:
        """Removes what an earlier process left of other leases. Blocks."""
        names = {self._path(lease_id).name for lease_id in keep}
        for path in self._folder.iterdir():
            if path.name not in names:
                shutil.rmtree(path, ignore_errors=True)

    def _path(self, lease_id: str) -> Path:
        return self._folder / hashlib.sha256(lease_id.encode()).hexdigest()


class _Taking:
    """The files of one article, as they are taken."""

    def __init__(self, to: Path, run_folder: Path, fetcher: Fetcher | None, fetch_until: float | None) -> None:
        """`fetch_until`: when no further address that `fetcher` allows is read; None: none is. They count as failed."""
        self._to = to
        self._run_folder = run_folder
        self._fetcher = fetcher
        self._fetch_until = fetch_until
        self._fetched = 0
        self._by_place: dict[str, TakenAsset | LeftOutReason] = {}
        self.assets: dict[str, TakenAsset] = {}  # by their names
        self.names: dict[str, str] = {}  # new references by the text of the old ones
        self.left_out: tuple[LeftOut, ...] = ()

    def take(self, reference: Reference) -> None:
        result = self._taken(reference)
        if isinstance(result, TakenAsset):
            self.names[reference.text] = SCHEME + result.name
        elif len(self.left_out) < MAX_ASSETS:
            self.left_out += (LeftOut(reference.text[:MAX_SOURCE], result),)

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
                result: TakenAsset | LeftOutReason = error.reason
            else:
                result = self._once(relative, partial(self._copy, relative, reference.text))
            if isinstance(result, TakenAsset):
                return result
            if reason is LeftOutReason.NOT_FOUND:
                reason = result
        return reason

    def _once(self, place: str, take: Callable[[], TakenAsset]) -> TakenAsset | LeftOutReason:
        """Returns what `take` returns, or why it fails. A place that is named again gets the same answer."""
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
        if self._fetched == MAX_ASSETS:
            raise LeftOutError(LeftOutReason.TOO_MANY)
        if self._fetch_until is None or time.monotonic() >= self._fetch_until:
            raise LeftOutError(LeftOutReason.FETCH_FAILED)
        self._fetched += 1
        name = PurePosixPath(unquote(urlsplit(address).path)).name or "picture"
        return self._keep(name, self._fetcher.fetch(address, self._space, self._fetch_until), source)

    @property
    def _space(self) -> int:
        """Returns the number of bytes that the next asset may have."""
        return min(MAX_BYTES, MAX_ALL_BYTES - sum(asset.size for asset in self.assets.values()))

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
        """Returns a name that no text has to escape, that no other asset has, and that leads nowhere else as a path."""
        parts = _UNFIT.sub("-", path)[-MAX_NAME:].split("/")
        base_path = PurePosixPath("/".join(part for part in parts if part not in ("", ".", "..")) or "file")
        stem, suffix = str(base_path).removesuffix(base_path.suffix), base_path.suffix
        name, number = stem + suffix, 1
        while name in self.assets:
            number += 1
            tail = f"-{number}{suffix}"
            name = stem[: MAX_NAME - len(tail)] + tail
        return name

    def _disk_failed(self, error: OSError) -> None:
        _log.error("a file of a result can't be kept", action="asset.refused", error=str(error))


def _blocks(descriptor: int, size: int) -> Iterator[bytes]:
    """Yields the first `size` bytes of a file. Raises OSError if it has become shorter."""
    remaining = size
    while remaining:
        block = os.read(descriptor, min(_BLOCK, remaining))
        if not block:
            raise OSError("it became shorter while it was read")
        remaining -= len(block)
        yield block
