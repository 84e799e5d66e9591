"""Assets, from a worker's upload to a reader: fences, bounds, ranges, and what contents may name."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode, aio

from contentgen.service.settings import SettingsError
from contentgen.service.values import Address
from contentgen.v1 import account_service_pb2 as account_pb
from contentgen.v1 import asset_pb2
from contentgen.v1 import asset_service_pb2 as asset_pb
from contentgen.v1 import content_service_pb2 as content_pb
from contentgen.v1 import worker_service_pb2 as pb
from contentgen.v1.worker_service_pb2_grpc import WorkerServiceStub
from scheduler_svc.assets import objects
from tests.api.cases import Bad, Good, The, missing
from tests.harness.client import bad_fields, not_found, refused
from tests.harness.cluster import Databases
from tests.harness.maker import Maker, new_account
from tests.harness.pictures import png, sha256
from tests.harness.replicas import SharedScheduler, channel_to, serving, serving_all, serving_beside
from tests.harness.scrape import Scrape
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stubs import (
    AccountServiceAsyncStub,
    AssetServiceAsyncStub,
    ContentServiceAsyncStub,
    TaskServiceAsyncStub,
)
from tests.harness.waiting import wait_until_async

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]

SIZE = 300
MIB = 1024 * 1024


@pytest.fixture
def data() -> bytes:
    """A file that is no other test's: a store that tests share keeps them for a while."""
    return os.urandom(SIZE)


@pytest.fixture
def store(lent: SharedScheduler | None, tmp_path: Path) -> Path:
    """The folder of the scheduler's files."""
    return lent.assets if lent else tmp_path / "assets"


@pytest.fixture
def own_db_url(databases: Databases, template: str) -> Iterator[str]:
    """A database of no shared scheduler."""
    with databases.lent(template) as url:
        yield url


async def maker_at(channel: aio.Channel, worker: ScriptedWorker) -> Maker:
    """One for a new account of a scheduler of the test's own."""
    return Maker(TaskServiceAsyncStub(channel), ContentServiceAsyncStub(channel), worker, await new_account(channel))


async def completed(
    maker: Maker, lease: pb.AssignedLease, *assets: pb.ResultAsset, **result: Any
) -> content_pb.Content:
    """The content of a lease whose result names these assets."""
    assert await maker.worker.complete(lease, assets=assets, **result) == pb.UPDATE_OUTCOME_COMMITTED
    return await maker.content_of(lease.task.task_id)


def named(data: bytes, name: str = "cover.png") -> pb.ResultAsset:
    return pb.ResultAsset(name=name, sha256=sha256(data), size=len(data))


def stated(lease: pb.AssignedLease, data: bytes, chunk: bytes = b"") -> pb.PutAssetRequest:
    """The first message of an upload."""
    return pb.PutAssetRequest(
        lease_id=lease.lease_id, attempt=lease.attempt, sha256=sha256(data), size=len(data), chunk=chunk
    )


def files(store: Path) -> Counter[str]:
    """The names of all files of the store, uploads under way included."""
    return Counter(path.name for path in store.glob("*/**/*") if path.is_file())


async def read(assets: AssetServiceAsyncStub, digest: str, offset: int = 0, length: int = 0) -> bytes:
    request = asset_pb.GetAssetRequest(sha256=digest, offset=offset, length=length)
    return b"".join([answer.chunk async for answer in assets.GetAsset(request)])


@pytest.mark.usefixtures("patient_looks")
async def test_a_content_names_a_picture_uploaded_before_its_result(
    maker: Maker, assets: AssetServiceAsyncStub
) -> None:
    picture = png()
    lease = await maker.leased()
    assert not await maker.worker.upload(lease, picture)
    images = ["asset:cover.png"]
    content = await completed(maker, lease, named(picture), body="![](asset:cover.png)", images=images)
    (asset,) = content.assets
    assert (asset.name, asset.sha256) == ("cover.png", sha256(picture))
    assert (asset.media_type, asset.size, asset.width, asset.height) == ("image/png", len(picture), 3, 2)
    assert (content.cover_image, list(content.left_out_assets)) == ("asset:cover.png", [])
    listed = await maker.contents.ListContents(content_pb.ListContentsRequest())
    assert list(listed.contents[0].assets) == [asset]
    assert await read(assets, asset.sha256) == picture
    assert (await assets.GetAssetInfo(asset_pb.GetAssetInfoRequest(sha256=asset.sha256))).asset == asset


async def test_an_asset_is_stored_once_for_all_contents(maker: Maker, data: bytes, store: Path) -> None:
    before = files(store)
    for known in (False, True):
        lease = await maker.leased()
        assert await maker.worker.upload(lease, data) is known
        assert [asset.name for asset in (await completed(maker, lease, named(data))).assets] == ["cover.png"]
    assert files(store) - before == {sha256(data): 1}


async def test_a_stored_asset_is_answered_at_once(maker: Maker, data: bytes) -> None:
    lease = await maker.leased()
    await maker.worker.upload(lease, data)
    assert await maker.worker.put([stated(lease, data)])


async def test_what_was_not_uploaded_is_left_out_and_the_result_stays(maker: Maker, data: bytes) -> None:
    left = [asset_pb2.LeftOutAsset(name="/etc/passwd", reason="OUTSIDE_FOLDER")]
    content = await completed(maker, await maker.leased(), named(data), left_out_assets=left)
    assert not content.assets
    assert [(asset.name, asset.reason) for asset in content.left_out_assets] == [
        ("cover.png", "NOT_FOUND"),
        ("/etc/passwd", "OUTSIDE_FOLDER"),
    ]


async def test_an_asset_whose_name_leads_elsewhere_is_left_out_and_the_result_stays(maker: Maker, data: bytes) -> None:
    lease = await maker.leased()
    await maker.worker.upload(lease, data)
    names = ["../a.png", "a/../../b.png", "/etc/passwd", "..", "a\\..\\b.png", "a\0.png"]
    content = await completed(maker, lease, *(named(data, name) for name in (*names, "in/..a.png")))
    assert [asset.name for asset in content.assets] == ["in/..a.png"]
    assert [(asset.name, asset.reason) for asset in content.left_out_assets] == [
        (name.replace("\0", ""), "OUTSIDE_FOLDER") for name in names
    ]


async def test_any_range_of_an_asset_can_be_read(maker: Maker, assets: AssetServiceAsyncStub) -> None:
    data = os.urandom(1_200_000)
    lease = await maker.leased()
    await maker.worker.upload(lease, data)
    content = await completed(maker, lease, named(data, "data"))
    assert await read(assets, sha256(data)) == data
    assert await read(assets, sha256(data), 600_000, 10) == data[600_000:600_010]
    assert await read(assets, sha256(data), 1_199_990, 1_000) == data[-10:]
    assert await read(assets, sha256(data), len(data)) == b""
    assert content.assets[0].media_type == "application/octet-stream"
    with bad_fields("offset"):
        await read(assets, sha256(data), len(data) + 1)


async def test_an_account_s_assets_are_bounded_and_count_once(maker: Maker, data: bytes, channel: aio.Channel) -> None:
    accounts, other = AccountServiceAsyncStub(channel), os.urandom(SIZE)
    limit = len(data) + len(other) - 1

    async def allow(size: int) -> None:
        account = account_pb.Account(account_id=maker.account, max_asset_bytes=size)
        await accounts.UpdateAccount(
            account_pb.UpdateAccountRequest(account=account, update_mask=FieldMask(paths=["max_asset_bytes"]))
        )

    await allow(limit)
    lease = await maker.leased()
    await maker.worker.upload(lease, data)
    with refused(StatusCode.INVALID_ARGUMENT, "ACCOUNT_ASSETS_FULL") as refusal:
        await maker.worker.upload(lease, other)
    assert refusal.metadata == {"account_id": str(maker.account), "limit": str(limit)}
    assert await maker.worker.upload(lease, data), "what counts already fits"
    content = await completed(maker, lease)
    with refused(StatusCode.INVALID_ARGUMENT, "ACCOUNT_ASSETS_FULL"):
        await put(maker, content.content_id, "b.bin", other)
    await put(maker, content.content_id, "a.bin", data)
    lease = await maker.leased()
    of_another = await Maker(maker.tasks, maker.contents, maker.worker, await new_account(channel)).leased()
    await maker.worker.upload(of_another, other)
    with refused(StatusCode.INVALID_ARGUMENT, "ACCOUNT_ASSETS_FULL"):
        await maker.worker.upload(lease, other)  # though it is stored: it would count for this account, too
    await allow(limit + 1)
    assert await maker.worker.upload(lease, other)
    await allow(1)
    assert await maker.worker.upload(lease, other)


def parts(content_id: int, name: str, data: bytes, etag: str = "") -> Iterator[content_pb.UploadAssetRequest]:
    """The messages of an editor's upload."""
    yield content_pb.UploadAssetRequest(content_id=content_id, name=name, etag=etag, chunk=data[:100])
    for at in range(100, len(data), MIB):
        yield content_pb.UploadAssetRequest(chunk=data[at : at + MIB])


async def put(maker: Maker, content_id: int, name: str, data: bytes) -> content_pb.Content:
    return (await maker.contents.UploadAsset(parts(content_id, name, data))).content


async def test_an_editor_uploads_replaces_and_removes_a_file(
    maker: Maker, assets: AssetServiceAsyncStub, data: bytes, store: Path
) -> None:
    content_id, other, before = (await maker("a topic", "![](asset:a.bin)")).content_id, os.urandom(SIZE), files(store)
    await put(maker, content_id, "b.bin", other)
    first = await put(maker, content_id, "a.bin", data)
    assert [(asset.name, asset.sha256) for asset in first.assets] == [("b.bin", sha256(other)), ("a.bin", sha256(data))]
    assert await read(assets, sha256(data)) == data
    assert await put(maker, content_id, "a.bin", data) == first, "nothing changes"
    covered = await maker.edit(content_id, etag=first.etag, cover_image="asset:a.bin")
    second = await put(maker, content_id, "a.bin", other)
    assert [(asset.name, asset.sha256) for asset in second.assets] == [(n, sha256(other)) for n in ("b.bin", "a.bin")]
    assert covered.etag != second.etag
    removed = await maker.contents.RemoveAsset(content_pb.RemoveAssetRequest(content_id=content_id, name="a.bin"))
    assert ([asset.name for asset in removed.content.assets], removed.content.cover_image) == (["b.bin"], "")
    listed = await maker.contents.ListContentRevisions(content_pb.ListContentRevisionsRequest(content_id=content_id))
    assert [(one.asset, one.cover_image) for one in listed.revisions] == [
        ("", ""),
        ("b.bin", ""),
        ("a.bin", ""),
        ("", "asset:a.bin"),
        ("a.bin", "asset:a.bin"),
        ("a.bin", ""),
    ]
    assert files(store) - before == {sha256(data): 1, sha256(other): 1}


async def test_an_editor_s_upload_that_breaks_off_or_is_too_large_leaves_nothing(
    maker: Maker, data: bytes, store: Path
) -> None:
    content, before = await maker(), files(store)
    call: Any = maker.contents.UploadAsset()  # without an iterator its messages are written
    await call.write(next(parts(content.content_id, "a.bin", data)))
    await wait_until_async(lambda: (files(store) - before).total() == 1, within=10, what="the upload has begun")
    call.cancel()
    await wait_until_async(lambda: files(store) == before, within=10, what="the file is gone")
    with bad_fields("chunk"):
        await put(maker, content.content_id, "a.bin", bytes(32 * MIB + 1))
    assert (files(store), await maker.read(content.content_id)) == (before, content)


async def test_uploads_at_once_keep_within_the_default_of_two_schedulers(own_db_url: str, tmp_path: Path) -> None:
    files = [os.urandom(1_000), os.urandom(1_000)]
    async with (
        serving_all(
            own_db_url, 2, assets=tmp_path, max_asset_bytes="1999", metrics_listen=Address("127.0.0.1", 0)
        ) as both,
        channel_to(both[0]) as first,
        channel_to(both[1]) as second,
        ScriptedWorker(first) as worker,
    ):
        lease = await (await maker_at(first, worker)).leased()
        calls = [WorkerServiceStub(channel).PutAsset() for channel in (first, second)]
        for call, data in zip(calls, files, strict=True):
            await call.write(stated(lease, data))
            assert dict(await call.initial_metadata())["asset-wanted"]
        for call, data in zip(calls, files, strict=True):
            await call.write(pb.PutAssetRequest(chunk=data))
            await call.done_writing()
        codes = [await call.code() for call in calls]
        assert sorted(codes, key=lambda code: code.value[0]) == [StatusCode.OK, StatusCode.INVALID_ARGUMENT]
        refused_at = both[codes.index(StatusCode.INVALID_ARGUMENT)]
        scraped = Scrape(refused_at.metrics_port)
        assert scraped("contentgen_assets_refused_total", reason="ACCOUNT_ASSETS_FULL") == 1


async def test_an_upload_asks_for_a_lease_whose_result_can_count(maker: Maker, data: bytes) -> None:
    lease = await maker.leased()
    await maker.worker.complete(lease)
    for lease_id, attempt in ((lease.lease_id, lease.attempt), (lease.lease_id, 2), ("x", 1)):
        with refused(StatusCode.FAILED_PRECONDITION, "LEASE_LOST") as refusal:
            await maker.worker.upload(pb.AssignedLease(lease_id=lease_id, attempt=attempt), data)
        assert refusal.metadata == {"lease_id": lease_id}


@pytest.mark.parametrize(
    ("field", "header"),
    [
        ("sha256", {"sha256": sha256(b"others")}),
        ("size", {"size": SIZE - 1}),
        ("size", {"size": SIZE + 1}),
    ],
    ids=["another's digest", "too small", "too large"],
)
async def test_an_upload_that_is_not_what_it_states_stores_nothing(
    maker: Maker, data: bytes, store: Path, field: str, header: dict[str, object]
) -> None:
    lease, before = await maker.leased(), files(store)
    with bad_fields(field):
        await maker.worker.upload(lease, data, **header)
    assert not files(store) - before
    assert not (await completed(maker, lease, named(data))).assets


async def test_a_name_counts_once_and_bad_entries_not_at_all(maker: Maker, data: bytes) -> None:
    lease = await maker.leased()
    await maker.worker.upload(lease, data)
    bad = [pb.ResultAsset(name=name, sha256=digest) for name, digest in (("", sha256(data)), ("x", "X" * 64))]
    long = pb.ResultAsset(name="n" * 201, sha256=sha256(data))
    content = await completed(maker, lease, *bad, long, named(data), named(data))
    assert [asset.name for asset in content.assets] == ["cover.png"]


async def test_a_deleted_content_takes_its_files_along(
    maker: Maker, data: bytes, assets: AssetServiceAsyncStub
) -> None:
    lease = await maker.leased()
    await maker.worker.upload(lease, data)
    content = await completed(maker, lease, named(data))
    await maker.delete(content.content_id)
    with not_found("asset", sha256(data)):
        await read(assets, sha256(data))


async def test_a_replica_on_another_store_than_the_first_asset_s_does_not_serve(
    db_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "COMPARE_INTERVAL", 0.05)
    async with (
        serving(db_url, assets=tmp_path / "one") as first,
        serving_beside(db_url, assets=tmp_path / "two") as second,
        channel_to(first) as channel,
        ScriptedWorker(channel) as worker,
    ):
        lease = await (await maker_at(channel, worker)).leased()
        assert second.health.serving, "nothing was stored yet"
        await worker.upload(lease, b"a file")
        await wait_until_async(lambda: not second.health.serving, within=60, what="the other one does not serve")
        assert second.health.reasons == ["its CONTENTGEN_ASSETS is not the store that the assets are in"]
        assert not (tmp_path / "two/store-id").exists()
        async with channel_to(second) as other:
            with refused(StatusCode.UNAVAILABLE, "ASSET_STORE_UNAVAILABLE"):
                await WorkerServiceStub(other).PutAsset(iter([stated(lease, b"x", chunk=b"x")]))
        with pytest.raises(SettingsError, match=f"CONTENTGEN_ASSETS={tmp_path}/three is a new store.*set it to"):
            async with serving_beside(db_url, assets=tmp_path / "three"):
                pass
        async with serving_beside(db_url, assets=tmp_path / "one") as third:
            assert third.health.serving
        shutil.copytree(tmp_path / "one", tmp_path / "two", dirs_exist_ok=True)
        await wait_until_async(lambda: second.health.serving, within=60, what="a copy is as good")
        assert first.health.serving


# What tests/api calls: requests that are answered, and those that are refused.
GOOD = [
    Good(
        "GetAsset",
        {"sha256": The("pictured", "sha256"), "offset": 1, "length": 3},
        {"chunk": base64.b64encode(b"PNG").decode()},
    ),
    Good(
        "GetAssetInfo",
        {"sha256": The("pictured", "sha256")},
        {
            "asset": {
                "name": "cover.png",
                "sha256": The("pictured", "sha256"),
                "media_type": "image/png",
                "width": 3,
                "height": 2,
            }
        },
    ),
    Good(
        "PutAsset",
        {
            "lease_id": The("leased", "lease_id"),
            "attempt": The("leased", "attempt"),
            "sha256": hashlib.sha256(b"a file").hexdigest(),
            "size": 6,
            "chunk": base64.b64encode(b"a file").decode(),
        },
        {"known": bool},
    ),
]
BAD = [
    Bad("GetAsset", {"offset": -1, "length": -1}, fields=("sha256", "offset", "length")),
    Bad("GetAsset", {"sha256": The("pictured", "sha256"), "offset": 9_000}, fields=("offset",)),
    missing("GetAsset", {"sha256": "5" * 64}, "asset", "5" * 64),
    Bad("GetAssetInfo", {"sha256": "5" * 63}, fields=("sha256",)),
    Bad(
        "GetAssetInfo",
        {"sha256": The("unnamed_asset", "sha256")},
        StatusCode.NOT_FOUND,
        "RESOURCE_NOT_FOUND",
        metadata={"resource_type": "asset", "resource_id": The("unnamed_asset", "sha256")},
    ),
    Bad("PutAsset", {}, fields=("lease_id", "attempt", "sha256", "size")),
    Bad(
        "PutAsset",
        {"lease_id": "l", "attempt": 1, "sha256": "A" * 64, "size": 32 * 1024 * 1024 + 1},
        fields=("sha256", "size"),
    ),
    Bad(
        "PutAsset",
        {
            "lease_id": The("lost_lease", "lease_id"),
            "attempt": The("lost_lease", "attempt"),
            "sha256": "5" * 64,
            "size": 1,
        },
        StatusCode.FAILED_PRECONDITION,
        "LEASE_LOST",
        metadata={"lease_id": The("lost_lease", "lease_id")},
    ),
]
