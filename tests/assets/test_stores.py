"""Both places for assets: a folder, and a bucket of a real server that speaks S3."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from email.utils import formatdate
from http.client import HTTPConnection
from pathlib import Path
from typing import ClassVar

import obstore
import pytest
from obstore.store import S3Store

from contentgen.service.settings import SettingsError
from scheduler_svc.assets import bucket as buckets
from scheduler_svc.assets import stores
from scheduler_svc.assets.objects import ObjectStore
from scheduler_svc.assets.stores import open_store
from scheduler_svc.assets.work import MAX_SECONDS
from scheduler_svc.config import Bucket
from scheduler_svc.domain.errors import AssetStoreUnavailable
from tests.harness.http_server import Handler, HttpServer
from tests.harness.pictures import has, sha256
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.integration

DATA = bytes(range(256)) * 40_000
"""More than one part of a multipart upload."""
DIGEST = sha256(DATA)
KEYS = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture(scope="module", autouse=True)  # before the look for what a test leaves behind
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of moto's server, with a bucket `pictures`."""
    log = tmp_path_factory.mktemp("s3") / "log"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        line = wait_until(
            lambda: [line for line in log.read_text().splitlines() if "Running on" in line],
            within=60,
            what="the S3 server listens",
        )
        address = line[0].split()[-1]
        with closing(HTTPConnection(address.removeprefix("http://"))) as connection:
            connection.request("PUT", "/pictures")
            assert connection.getresponse().status == 200
        yield address
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return open_store(tmp_path / "assets")
    return open_store(Bucket.parse(f"s3://pictures/some/prefix?endpoint={request.getfixturevalue('s3')}"))


def keep(store: ObjectStore, data: bytes) -> str:
    with store.incoming() as incoming:
        incoming.file.write(data)
        store.keep(incoming, sha256(data))
    return sha256(data)


def test_an_object_is_kept_read_in_parts_and_deleted(store: ObjectStore) -> None:
    with store.incoming() as incoming:
        incoming.file.write(DATA)  # and is not kept
    with pytest.raises(AssetStoreUnavailable):
        store.read(DIGEST, 0, 10)
    for _ in range(2):  # the second upload of the same bytes changes nothing
        assert keep(store, DATA) == DIGEST
    assert store.read(DIGEST, 0, len(DATA)) == DATA
    assert store.read(DIGEST, 5_000_000, 300) == DATA[5_000_000:5_000_300]
    for _ in range(2):
        store.delete(DIGEST)
        assert not has(store, DIGEST)


def test_objects_are_below_the_prefix(s3: str) -> None:
    digest = keep(open_store(Bucket.parse(f"s3://pictures/below?endpoint={s3}")), b"a file")
    bucket = S3Store("pictures", config={"endpoint": s3}, region="us-east-1", client_options={"allow_http": True})
    paths = [entry["path"] for page in obstore.list(bucket, "below") for entry in page]
    assert paths == [f"below/{digest}"]


def test_credentials_may_be_in_files(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.delenv(name)
        (tmp_path / name).write_text(f"{value}\n")
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    bucket = Bucket.parse(f"s3://pictures/files?endpoint={s3}")
    store = open_store(bucket)
    assert has(store, keep(store, b"a file"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "zebra")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY_FILE", "/nowhere")
    with pytest.raises(SettingsError) as raised:
        open_store(bucket)
    assert raised.value.problems == (
        "exactly one of AWS_ACCESS_KEY_ID and AWS_ACCESS_KEY_ID_FILE may be set: unset the other one",
        (
            "AWS_SECRET_ACCESS_KEY_FILE: must be the path of a file that holds AWS_SECRET_ACCESS_KEY"
            " (No such file or directory)"
        ),
    )


@pytest.mark.parametrize("text", ["s3://none?endpoint={s3}", "s3://pictures?endpoint=http://127.0.0.1:1"])
def test_a_bucket_that_can_t_be_reached_is_unavailable(s3: str, text: str) -> None:
    store = open_store(Bucket.parse(text.format(s3=s3)))
    with pytest.raises(AssetStoreUnavailable):
        keep(store, b"a file")


def test_a_deletion_ends_before_the_database_ends_its_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_SECONDS + buckets.DELETE_TIMEOUT.total_seconds() < 15, "the database ends an idle one after 20 s"
    monkeypatch.setattr(buckets, "DELETE_TIMEOUT", timedelta(seconds=0.3))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = open_store(Bucket.parse(f"s3://pictures?endpoint=http://127.0.0.1:{silent.getsockname()[1]}"))
        with pytest.raises(AssetStoreUnavailable):
            store.delete("0" * 64)


@pytest.mark.parametrize(
    ("text", "bucket"),
    [
        ("s3://pictures", Bucket("pictures")),
        ("s3://pictures/a/b/", Bucket("pictures", "a/b")),
        ("s3://p.x-1/a?endpoint=http://h:9&region=r", Bucket("p.x-1", "a", "http://h:9", "r")),
    ],
)
def test_a_bucket_s_address(text: str, bucket: Bucket) -> None:
    assert Bucket.parse(text) == bucket


@pytest.mark.parametrize("text", ["s3://", "s3://A_B", "s3://b?x=1", "s3://b?endpoint=h:9", "s3://b#x", "s3:b"])
def test_a_wrong_address_of_a_bucket(text: str) -> None:
    with pytest.raises(ValueError, match="must be the path of a folder, or s3://"):
        Bucket.parse(text)


def test_a_store_gets_an_id_once(store: ObjectStore) -> None:
    assert store.identity() is None
    identity = store.identity(create=True)
    assert identity
    assert store.identity(create=True) == store.identity() == identity


def test_an_id_that_another_scheduler_is_writing_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = tmp_path / "store-id"
    identity.touch()
    monkeypatch.setattr(time, "sleep", lambda _: identity.write_text("of another\n"))
    assert open_store(tmp_path).identity(create=True) == "of another"


def test_an_id_that_stays_empty_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store-id").touch()
    monkeypatch.setattr(stores, "_WRITE_TIME", 0.0)
    with pytest.raises(AssetStoreUnavailable, match="store-id is empty: delete it if it stays so"):
        open_store(tmp_path).identity()


class _LeastService(Handler):
    """S3 without conditional puts, for credentials that may not list: what is missing is denied."""

    objects: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        data = self.objects.get(self.path)
        self._answer(403 if data is None else 200, data or b"<Error><Code>AccessDenied</Code></Error>")

    def do_PUT(self) -> None:
        data = self.body()
        if self.headers["If-None-Match"]:
            self._answer(501, b"<Error><Code>NotImplemented</Code></Error>")
        else:
            self.objects[self.path] = data
            self._answer(200, b"")

    def _answer(self, status: int, data: bytes) -> None:
        self.answer(status, data, ETag='"a"', Last_Modified=formatdate(usegmt=True))


def test_an_id_takes_no_right_to_list_and_no_conditional_put() -> None:
    with HttpServer(_LeastService) as server:
        store = open_store(Bucket.parse(f"s3://pictures?endpoint={server.url}"))
        assert store.identity() is None
        identity = store.identity(create=True)
        assert store.identity() == store.identity(create=True) == identity
