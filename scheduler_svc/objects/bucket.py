"""Assets in a bucket of an S3 service, each an object named by its SHA-256, below the prefix.

An upload is gathered in a temporary file first: an object appears whole, by one request or as a multipart upload.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import BinaryIO, Self

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from scheduler_svc.application.assets.objects import Incoming
from scheduler_svc.config import Bucket
from scheduler_svc.domain.errors import AssetStoreUnavailable

TIMEOUT = timedelta(seconds=30)
"""Of one request."""
RETRY_TIMEOUT = timedelta(seconds=10)
"""From the first try of a request to its last."""
DELETE_TIMEOUT = timedelta(seconds=6)
"""Of a deletion, which is tried once: a transaction waits for it."""


class BucketStore:
    def __init__(self, bucket: Bucket) -> None:
        """Connects to nothing yet. Credentials come from the environment."""
        region = bucket.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        plain = bucket.endpoint is not None and bucket.endpoint.startswith("http://")
        with _as_unavailable():
            self._store, self._for_deletes = (
                S3Store(
                    bucket.name,
                    config={"endpoint": bucket.endpoint} if bucket.endpoint else {},
                    prefix=bucket.prefix or None,
                    region=region,
                    virtual_hosted_style_request=bucket.endpoint is None,
                    client_options={"timeout": timeout, "allow_http": plain},
                    retry_config={"max_retries": retries, "retry_timeout": RETRY_TIMEOUT},
                )
                for timeout, retries in ((TIMEOUT, 3), (DELETE_TIMEOUT, 0))
            )

    def incoming(self) -> Incoming:
        try:
            return _TemporaryFile()
        except OSError as error:
            raise AssetStoreUnavailable(str(error)) from None

    def keep(self, incoming: Incoming, sha256: str) -> None:
        with _as_unavailable():
            incoming.file.seek(0)
            obstore.put(self._store, sha256, incoming.file)

    def read(self, sha256: str, offset: int, length: int) -> bytes:
        with _as_unavailable():
            return bytes(obstore.get_range(self._store, sha256, start=offset, length=length))

    def delete(self, sha256: str) -> None:
        with _as_unavailable():
            obstore.delete(self._for_deletes, sha256)


class _TemporaryFile:
    def __init__(self) -> None:
        self.file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - it is this context manager's

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()


@contextmanager
def _as_unavailable() -> Iterator[None]:
    """The first line of what the service says: further ones may show a request's details."""
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        raise AssetStoreUnavailable((str(error).strip().splitlines() or [type(error).__name__])[0]) from None
