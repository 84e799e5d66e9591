"""Read and change the files of contents: pictures, mostly. Layer: client."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

from contentgen.client.errors import RequestError, Unavailable
from contentgen.client.methods import Methods, plain, returns, returns_if_found
from contentgen.client.results import Asset, Content
from contentgen.client.transport import Transport
from contentgen.v1 import asset_pb2
from contentgen.v1 import asset_service_pb2 as pb
from contentgen.v1 import content_service_pb2 as content_pb

READ_TIMEOUT = UPLOAD_TIMEOUT = 300.0
"""Seconds that one stream of an asset may take, beyond the client's timeout."""
CHUNK = 64 * 1024
"""Bytes of one message of an upload."""
MAX_TRIES = 5
"""Streams in a row that may fail without a byte."""
PAUSE = 0.2
"""Seconds before the second try, doubling."""


class AssetMethods(Methods):
    @returns_if_found(Asset)
    async def get_asset_info(self, sha256: str) -> asset_pb2.Asset:
        """Returns what is known of an asset, or None if no content that you may read names it.

        Example:
            >>> for asset in client.get_content(content_id)["assets"]:
            ...     print(client.get_asset_info(asset["sha256"])["media_type"])
        """
        return (await self._call(self._stubs.assets.GetAssetInfo, pb.GetAssetInfoRequest(sha256=sha256))).asset

    @plain
    async def read_asset(self, sha256: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Returns the bytes of an asset, or a part of them; goes on elsewhere if a scheduler ends in between.

        Args:
            sha256: as a content's `assets` has it.
            offset: bytes to skip.
            length: bytes to read; None: to the end.

        Raises:
            ResourceNotFoundException: no content that you may read names it.
            RequestError: code DATA_LOSS if the bytes of a whole asset do not have its SHA-256.

        Example:
            >>> pictures = {
            ...     asset["name"]: client.read_asset(asset["sha256"])
            ...     for asset in client.get_content(content_id)["assets"]
            ... }
        """
        if length == 0:
            return b""
        data = bytearray()
        await read(self._transport, sha256, data.extend, offset=offset, length=length or 0)
        if not offset and length is None:
            _check(hashlib.sha256(data).hexdigest(), sha256)
        return bytes(data)

    @plain
    async def save_asset(self, sha256: str, path: str | PathLike[str]) -> int:
        """Writes an asset into a file, and returns its bytes; the file appears once it is whole.

        An asset's name is the creator's choice, and may be that of any file below a folder: its SHA-256 is always safe.

        Raises:
            ResourceNotFoundException: no content that you may read names it.
            RequestError: code DATA_LOSS if the bytes do not have its SHA-256.
            OSError: the file can't be written.

        Example:
            >>> for asset in client.get_content(content_id)["assets"]:
            ...     size = client.save_asset(asset["sha256"], folder / asset["sha256"])
        """
        digest, size = hashlib.sha256(), 0
        with appearing(Path(path)) as file:

            def take(chunk: bytes) -> None:
                nonlocal size
                digest.update(chunk)
                size += file.write(chunk)

            await read(self._transport, sha256, take)
            _check(digest.hexdigest(), sha256)
        return size

    @returns(Asset)
    async def upload_asset(
        self, content_id: int, name: str, data: bytes | BinaryIO, *, etag: str = ""
    ) -> asset_pb2.Asset:
        """Stores a file beside a content, in place of one of that name, and returns what it is.

        Args:
            content_id: the content; it gets a new revision.
            name: how texts refer to it, as `asset:NAME`.
            data: 1 byte to 32 MiB, or a file that is open for reading.
            etag: of the content when it was read; empty: whatever it is now is changed.

        Raises:
            ResourceNotFoundException: the content does not exist.
            EtagMismatchException: it has changed since it was read.
            InvalidArgument: it is too large, or the content or the account has as much as it may have.

        Example:
            >>> asset = client.upload_asset(content_id, "sources.txt", b"Where it comes from")
            >>> print(asset["sha256"], asset["size"])
        """
        file = io.BytesIO(data) if isinstance(data, bytes) else data
        call: Any = self._stubs.contents.UploadAsset  # which takes a stream of requests
        first = content_pb.UploadAssetRequest(content_id=content_id, name=name, etag=etag)
        parts = _parts(first, file)
        answer: content_pb.UploadAssetResponse = await self._call(call, parts, waits=UPLOAD_TIMEOUT, about=first)
        return answer.asset

    @returns(Content)
    async def remove_asset(self, content_id: int, name: str, *, etag: str = "") -> content_pb.Content:
        """Removes a file from a content, also from its images and as its cover, and returns the content.

        Raises:
            ResourceNotFoundException: the content does not exist, or has no file of that name.
            EtagMismatchException: it has changed since it was read.

        Example:
            >>> for asset in client.get_content(content_id)["assets"]:
            ...     content = client.remove_asset(content_id, asset["name"])
        """
        request = content_pb.RemoveAssetRequest(content_id=content_id, name=name, etag=etag)
        return (await self._call(self._stubs.contents.RemoveAsset, request)).content


def _parts(first: content_pb.UploadAssetRequest, file: BinaryIO) -> Iterator[content_pb.UploadAssetRequest]:
    first.chunk = file.read(CHUNK)
    yield first
    while chunk := file.read(CHUNK):
        yield content_pb.UploadAssetRequest(chunk=chunk)


async def read(
    transport: Transport, sha256: str, take: Callable[[bytes], object], *, offset: int = 0, length: int = 0
) -> None:
    """Calls `take` with the bytes as they come, over as many streams as it takes; `length` 0: to the end."""
    request, tries = pb.GetAssetRequest(sha256=sha256, offset=offset, length=length), 1
    while True:
        stream = transport.stream(transport.stubs.assets.GetAsset, request, timeout=transport.timeout + READ_TIMEOUT)
        try:
            while (answer := await stream.read()) is not None:
                take(answer.chunk)
                tries = 1
                request.offset += len(answer.chunk)
                request.length -= len(answer.chunk) if length else 0
        except Unavailable:
            if tries == MAX_TRIES:
                raise
        else:
            return
        finally:
            stream.cancel()
        if length and request.length <= 0:
            return
        await transport.pause(PAUSE * 2 ** (tries - 1))
        tries += 1


@contextmanager
def appearing(path: Path) -> Iterator[BinaryIO]:
    """Yields a file that appears at `path` at the end of the block, unless the block fails."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _check(digest: str, expected: str) -> None:
    if digest != expected:
        raise RequestError(f"the bytes that came are not those of asset {expected}", code="DATA_LOSS")
