"""Assets in a bucket of an S3 service, each an object named by its SHA-256, below the prefix.

An upload is gathered in a temporary file first: an object appears whole, by one request or as a multipart upload.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, GenericError, NotFoundError, PermissionDeniedError
from obstore.store import S3Store

from contentgen.service.settings import SettingsError
from scheduler_svc.assets.objects import Incoming, as_unavailable
from scheduler_svc.config import Bucket

if TYPE_CHECKING:
    from obstore.store import S3Config


_ERRORS = (BaseError, OSError, ValueError)
_IDENTITY = "store-id"
"""The object that holds the store's id."""
TIMEOUT = timedelta(seconds=30)
"""Of one request."""
RETRY_TIMEOUT = timedelta(seconds=10)
"""From the first try of a request to its last."""
DELETE_TIMEOUT = timedelta(seconds=6)
"""Of a deletion, which is tried once: a transaction waits for it."""


def credentials_in_files(environ: Mapping[str, str]) -> S3Config:
    """Returns the credentials that variables such as AWS_SECRET_ACCESS_KEY_FILE name files for.

    Raises SettingsError for a file that can't be read, or if the variable itself is set too.
    """
    config, problems = {}, []
    for key in ("access_key_id", "secret_access_key", "session_token"):
        name = f"AWS_{key.upper()}"
        if not (file := environ.get(f"{name}_FILE")):
            continue
        if environ.get(name):
            problems.append(f"exactly one of {name} and {name}_FILE may be set: unset the other one")
            continue
        try:
            config[key] = Path(file).read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a key"
            problems.append(f"{name}_FILE: must be the path of a file that holds {name} ({reason})")
    if problems:
        raise SettingsError(problems)
    return cast("S3Config", config)


class BucketStore:
    def __init__(self, bucket: Bucket) -> None:
        """Connects to nothing yet. Credentials come from the environment, or its files. Raises SettingsError."""
        config = credentials_in_files(os.environ)
        if bucket.endpoint is not None:
            config["endpoint"] = bucket.endpoint
        region = bucket.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        plain = bucket.endpoint is not None and bucket.endpoint.startswith("http://")
        with as_unavailable(*_ERRORS):
            self._store, self._for_deletes = (
                S3Store(
                    bucket.name,
                    config=config,
                    prefix=bucket.prefix or None,
                    region=region,
                    virtual_hosted_style_request=bucket.endpoint is None,
                    client_options={"timeout": timeout, "allow_http": plain},
                    retry_config={"max_retries": retries, "retry_timeout": RETRY_TIMEOUT},
                )
                for timeout, retries in ((TIMEOUT, 3), (DELETE_TIMEOUT, 0))
            )

    def identity(self, *, create: bool = False) -> str | None:
        with as_unavailable(*_ERRORS):
            # a missing object is denied, too, if the credentials may not list the bucket
            with suppress(FileNotFoundError, NotFoundError, PermissionDeniedError):
                return self._identity()
            if not create:
                return None
            self._create_identity(uuid.uuid4().hex.encode())
            return self._identity()

    def _identity(self) -> str:
        return bytes(obstore.get(self._store, _IDENTITY).bytes()).decode()

    def _create_identity(self, data: bytes) -> None:
        """Creates it only if there is none, or in any case if the service can't do that."""
        try:
            obstore.put(self._store, _IDENTITY, data, mode="create")
        except AlreadyExistsError:
            return
        except GenericError as error:
            if "NotImplemented" not in str(error):
                raise
            obstore.put(self._store, _IDENTITY, data)

    def incoming(self) -> Incoming:
        with as_unavailable(OSError):
            return Incoming(tempfile.TemporaryFile())

    def keep(self, incoming: Incoming, sha256: str) -> None:
        with as_unavailable(*_ERRORS):
            incoming.file.seek(0)
            obstore.put(self._store, sha256, incoming.file)

    def read(self, sha256: str, offset: int, length: int) -> bytes:
        with as_unavailable(*_ERRORS):
            return bytes(obstore.get_range(self._store, sha256, start=offset, length=length))

    def delete(self, sha256: str) -> None:
        with as_unavailable(*_ERRORS):
            obstore.delete(self._for_deletes, sha256)
