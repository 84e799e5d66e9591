"""The files that results name, kept, fetched and uploaded by a real worker."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from math import inf
from pathlib import Path
from threading import Event, Thread

import grpc.aio
import pytest
from grpc import StatusCode

from contentgen.v1 import worker_service_pb2 as pb
from scheduler_svc.domain.errors import AccountAssetsFull, AssetStoreUnavailable
from scheduler_svc.runtime.errors import internal_status
from tests.harness.creators import picture_creator, writing
from tests.harness.credentials import make_signed
from tests.harness.http_server import Handler, HttpServer
from tests.harness.pictures import png, sha256
from tests.harness.scripted_scheduler import ScriptedScheduler, Stream, held, lease, scripted_scheduler, stages
from tests.harness.waiting import PATIENCE_S, wait_until_async
from tests.harness.worker_process import WorkerProcess, worker_session
from worker_svc import asset_folder, asset_sources
from worker_svc.asset_folder import AssetFolder
from worker_svc.asset_sources import Fetcher, LeftOutError, is_public
from worker_svc.outcome import Article, LeftOut, LeftOutReason
from worker_svc.session import asset_uploads
from worker_svc.session.asset_uploads import AssetUploads, Put
from worker_svc.session.outbox import PendingUpdate, UpdateKind

pytestmark = pytest.mark.integration


PICTURE, OTHER = png(), png(shade=200)
EXECUTOR = ThreadPoolExecutor(1)
"""Removes nothing here."""
DEFECT = internal_status()
FULL = AssetStoreUnavailable("No space left on device")


# The files that a result names, as they are taken from the run's folder.


async def taken(
    folder: Path, article: Article, fetcher: Fetcher | None = None, *, fetch_within: float | None = None
) -> Article:
    """What becomes of an article whose run has left `folder`."""
    assets = folder / "assets"
    assets.mkdir(exist_ok=True)
    with ThreadPoolExecutor(1) as disk, ThreadPoolExecutor(1) as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        kept_assets = AssetFolder(assets, disk, 1_000, fetcher)
        return await kept_assets.taken("lease", folder, article, fetch_within=fetch_within)


async def test_names_that_need_escapes_get_others_and_absolute_paths_are_taken(tmp_path: Path) -> None:
    for name in ("my pic (1).png", "图.png", "cover.png"):
        (tmp_path / name).write_bytes(PICTURE)
    content = "![](<my pic (1).png>) ![](my%20pic%20(1).png) ![](图.png)"
    article = await taken(tmp_path, Article(f"{content} ![]({tmp_path}/cover.png)"))
    names = "![](<asset:my-pic-1-.png>) ![](asset:my-pic-1-.png) ![](asset:图.png)"
    assert article.content == f"{names} ![](asset:cover.png)"


async def test_nothing_outside_of_the_run_s_folder_is_taken(tmp_path: Path) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "run"
    secret.write_text("a secret")
    (folder / "real").mkdir(parents=True)
    (folder / "link.png").symlink_to(secret)
    (folder / "folder").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.png")
    (folder / "empty.png").touch()
    with (folder / "huge.png").open("wb") as huge:
        huge.truncate(33 * 1024 * 1024)
    names = {
        str(secret): "OUTSIDE_FOLDER",
        "../secret": "OUTSIDE_FOLDER",
        "real/../../x.png": "OUTSIDE_FOLDER",
        f"file://{secret}": "OUTSIDE_FOLDER",
        "link.png": "SYMLINK",
        "folder/secret": "SYMLINK",
        "real": "NOT_FOUND",
        "pipe.png": "NOT_FOUND",
        "empty.png": "NOT_FOUND",
        "none.png": "NOT_FOUND",
        "a\nb.png": "NOT_FOUND",
        "huge.png": "TOO_LARGE",
        "https://example.com/a.png": "HOST_NOT_ALLOWED",
    }
    article = await taken(folder, Article("text", images=tuple(names)))
    assert (dict(article.left_out), article.images, article.assets) == (names, tuple(names), ())


async def test_files_are_bounded_in_number_and_in_size_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = tuple(f"{n}.txt" for n in range(102))
    for name in names:
        (tmp_path / name).write_text(name)
    article = await taken(tmp_path, Article("text", images=names))
    assert len(article.assets) == 100
    assert dict(article.left_out) == {"100.txt": "TOO_MANY", "101.txt": "TOO_MANY"}
    assert asset_folder.MAX_ALL_BYTES == 128 * 1024 * 1024
    monkeypatch.setattr(asset_folder, "MAX_ALL_BYTES", 4 * len("0.txt"))
    article = await taken(tmp_path, Article("text", images=names[:5]))
    assert dict(article.left_out) == {"4.txt": "TOO_LARGE"}


async def test_whatever_a_lease_is_called_its_files_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "cover.png").write_bytes(PICTURE)
    await taken(tmp_path, Article("![](cover.png)"))
    with ThreadPoolExecutor(1) as disk:
        folder = AssetFolder(tmp_path / "assets", disk, 1_000)
        for lease_id in ("", ".", "y" * 1_000, "a/../lease"):
            folder.forget(lease_id)
    assert folder.file("lease", sha256(PICTURE)).read_bytes() == PICTURE


async def test_an_article_that_would_grow_beyond_its_bound_keeps_its_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    article = await taken(tmp_path, Article("![](a)" * 166))
    assert article == Article("![](a)" * 166, left_out=(LeftOut("a", LeftOutReason.TOO_LARGE),))


# A real worker process against a scripted scheduler: the files are kept, and uploaded before the result.


def kept(folder: Path) -> list[Path]:
    """The files in the worker's folder of assets."""
    return sorted(path for path in folder.glob("workers/1/assets/*/*") if path.is_file())


@asynccontextmanager
async def picture_session(
    tmp_path: Path,
    setup: str = writing(cover_png=PICTURE),
    *,
    accepts_assets: bool = True,
    hosts: str = "",
    max_result: str = "",
    **result: object,
) -> AsyncIterator[tuple[ScriptedScheduler, WorkerProcess, Stream]]:
    """A worker whose creator names files; by default one picture, `cover.png`."""
    settings = {"CREATOR_CLI_PATH": str(picture_creator(tmp_path, setup, **(result or {"images": ["cover.png"]})))}
    settings["CREATOR_ASSET_HOSTS"] = hosts
    if max_result:
        settings["CREATOR_MAX_RESULT"] = max_result
    async with worker_session(tmp_path, accepts_assets=accepts_assets, **settings) as session:
        yield session


async def completed(stream: Stream) -> pb.Result:
    return (await stream.update("completed", "a")).completed.result


async def finished(stream: Stream) -> None:
    """Returns once the only lease has ended, and is held."""
    await stream.until("heartbeat", lambda beat: stages(beat) == {"a": pb.LEASE_STAGE_FINISHED})


def left_out(result: pb.Result) -> dict[str, str]:
    return {asset.name: asset.reason for asset in result.left_out_assets}


async def test_files_that_a_result_names_are_uploaded_before_it(tmp_path: Path) -> None:
    session = picture_session(
        tmp_path,
        writing(cover_png=PICTURE, in__detail_png=OTHER),
        content="![](cover.png) ![](in/detail.png 'a title') ![](./cover.png)",
        htmlContent='<img src="cover.png">',
        images=["cover.png", {"url": "in/detail.png"}],
    )
    async with session as (scheduler, _, stream):
        await stream.grant(lease("a"))
        result = await completed(stream)
        assert scheduler.assets == [PICTURE, OTHER]
        assert list(result.images) == ["asset:cover.png", "asset:in/detail.png"]
        assert result.body == "![](asset:cover.png) ![](asset:in/detail.png 'a title') ![](asset:cover.png)"
        assert result.html_body == '<img src="asset:cover.png">'
        assert [(asset.name, asset.sha256, asset.size, asset.source) for asset in result.assets] == [
            ("cover.png", sha256(PICTURE), len(PICTURE), "cover.png"),
            ("in/detail.png", sha256(OTHER), len(OTHER), "in/detail.png"),
        ]
        assert not left_out(result)
        await stream.idle()
        await wait_until_async(lambda: not kept(tmp_path), within=5, what="the acknowledged files are removed")


async def test_a_scheduler_without_assets_gets_the_names_that_the_cli_gave(tmp_path: Path) -> None:
    content, images = "![](<my pic.png>)", ["my pic.png", "none.png"]
    setup = f"open('my pic.png', 'wb').write({PICTURE!r})"
    session = picture_session(tmp_path, setup, accepts_assets=False, content=content, images=images)
    async with session as (scheduler, _, stream):
        await stream.grant(lease("a"))
        result = await completed(stream)
        assert (result.body, list(result.images)) == (content, images)
        assert not result.assets
        assert not left_out(result)
        assert not scheduler.assets


async def test_a_failed_upload_is_tried_again_while_the_lease_is_held(tmp_path: Path) -> None:
    """What reaches a scheduler of an older version goes where the stream goes."""
    async with picture_session(tmp_path) as (scheduler, _, stream):
        scheduler.refuse_assets = [StatusCode.UNAVAILABLE, StatusCode.UNIMPLEMENTED, StatusCode.INTERNAL]
        scheduler.takes_assets.clear()
        await stream.grant(lease("a"))
        await finished(stream)
        await stream.until("heartbeat", lambda s: len(s.held_leases) == 1 and s.free_slots == 3)
        assert not stream.updates("completed")
        scheduler.takes_assets.set()
        await completed(stream)
        assert scheduler.assets == [PICTURE]
        assert [peer == stream.peer for peer in scheduler.asset_peers] == [False, False, True, True]


async def test_a_result_goes_without_its_files_before_its_task_times_out(tmp_path: Path) -> None:
    async with picture_session(tmp_path, content="![](./cover.png)", images=["none.png"]) as (scheduler, _, stream):
        scheduler.takes_assets.clear()
        await stream.grant(lease("a", timeout=4.0))
        result = await completed(stream)
        assert result.body == "![](./cover.png)"
        assert not result.assets
        assert left_out(result) == {"none.png": "NOT_FOUND", "./cover.png": "NOT_FOUND"}
        await stream.idle()


async def test_a_worker_that_dies_between_spool_and_upload_uploads_after_its_restart(tmp_path: Path) -> None:
    async with picture_session(tmp_path) as (scheduler, worker, stream):
        scheduler.takes_assets.clear()
        await stream.grant(lease("a"))
        await finished(stream)
        worker.kill()
        assert [path.read_bytes() for path in kept(tmp_path)] == [PICTURE]
        (tmp_path / "workers/1/assets/left").mkdir()
        scheduler.takes_assets.set()
        worker.launch()
        again, hello = await scheduler.session(accepts_assets=True, drop_leases=["a"])
        assert held(hello) == ["a"]
        assert list((await completed(again)).images) == ["asset:cover.png"]
        assert scheduler.assets[-1] == PICTURE
        first = next(m for m in again.received if m.HasField("heartbeat")).heartbeat
        assert first.free_slots == 0  # a late result's task must not be granted anew before the result arrives
        await again.until("heartbeat", lambda s: not s.held_leases and s.free_slots == 3)
        await wait_until_async(lambda: not kept(tmp_path), within=5, what="the acknowledged files are removed")
        assert not (tmp_path / "workers/1/assets/left").exists()


async def test_a_result_goes_on_to_another_scheduler_with_its_assets(tmp_path: Path) -> None:
    async with picture_session(tmp_path) as (scheduler, _, stream):
        stream.answer_all(reports=False)
        await stream.grant(lease("a"))
        await completed(stream)
        stream.send(reconnect=pb.Reconnect())
        again, _ = await scheduler.session(accepts_assets=True, keep_leases=["a"])
        await completed(again)
        assert scheduler.assets == [PICTURE, PICTURE]


async def test_an_allowed_host_in_a_private_network_is_refused_and_the_files_are_taken(tmp_path: Path) -> None:
    address = "https://localhost:1/a.png"
    content, images = f"![](cover.png) ![]({address})", ["http://localhost:1/"]
    async with picture_session(tmp_path, hosts="localhost:1", content=content, images=images) as (scheduler, _, stream):
        await stream.grant(lease("a"))
        result = await completed(stream)
        assert left_out(result) == {address: "HOST_NOT_ALLOWED", "http://localhost:1/": "HOST_NOT_ALLOWED"}
        assert result.body == f"![](asset:cover.png) ![]({address})"
        assert scheduler.assets == [PICTURE]


async def test_the_bound_of_a_result_is_that_of_its_worker(tmp_path: Path) -> None:
    async with picture_session(tmp_path, content="![](cover.png)", max_result="16") as (scheduler, _, stream):
        await stream.grant(lease("a"))
        result = await completed(stream)
    assert (result.body, left_out(result)) == ("![](cover.png)", {"cover.png": "TOO_LARGE"})
    assert scheduler.assets == []


# Uploads without a worker.


def naming(tmp_path: Path, lease_id: str, *files: bytes) -> PendingUpdate:
    """A result that names these files, which are in the worker's folder."""
    result = pb.Result(body=" ".join(f"![](asset:{n}.png)" for n in range(len(files))))
    for n, data in enumerate(files):
        path = AssetFolder(tmp_path, EXECUTOR, 0).file(lease_id, sha256(data))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        result.assets.add(name=f"{n}.png", sha256=sha256(data), size=len(data), source=f"{n}.png")
    message = pb.LeaseUpdate(completed=pb.Completed(result=result))
    return PendingUpdate(lease_id, 1, UpdateKind.COMPLETED, message.ByteSize(), message)


@asynccontextmanager
async def uploading(
    tmp_path: Path,
) -> AsyncIterator[tuple[ScriptedScheduler, AssetUploads, asyncio.Queue[PendingUpdate]]]:
    """A scheduler, the uploads of a session, and the results that are ready."""
    ready = asyncio.Queue[PendingUpdate]()
    uploads = AssetUploads(AssetFolder(tmp_path, EXECUTOR, 0), lambda _: inf, ready.put_nowait)
    async with scripted_scheduler() as scheduler, grpc.aio.insecure_channel(scheduler.target) as channel:
        uploads.opened(Put(channel, channel, ()))
        yield scheduler, uploads, ready
        await uploads.close()
    await asyncio.get_running_loop().shutdown_default_executor()


async def next_of(ready: asyncio.Queue[PendingUpdate]) -> pb.Result:
    async with asyncio.timeout(PATIENCE_S):
        update: pb.LeaseUpdate = (await ready.get()).message
    return update.completed.result


async def test_a_store_that_refuses_is_tried_on_and_a_defect_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asset_uploads, "MAX_PAUSE", 0.0)
    monkeypatch.setattr(asset_uploads, "MIN_PAUSE", 0.0)
    async with uploading(tmp_path) as (scheduler, uploads, ready):
        scheduler.refuse_assets = [*[DEFECT] * asset_uploads.MAX_REFUSALS, *[FULL] * (asset_uploads.MAX_REFUSALS + 2)]
        uploads.add(naming(tmp_path, "a", PICTURE, OTHER))
        result = await next_of(ready)
    assert left_out(result) == {"0.png": "STORE_UNAVAILABLE"}
    assert (result.body, [asset.name for asset in result.assets]) == ("![](0.png) ![](asset:1.png)", ["1.png"])
    assert not scheduler.refuse_assets


@pytest.mark.parametrize(
    ("refusal", "body"),
    [
        (AccountAssetsFull(1, 10), "![](0.png) ![](asset:1.png)"),
        (StatusCode.FAILED_PRECONDITION, "![](asset:0.png) ![](asset:1.png)"),
    ],
    ids=["what its account may not have is left out", "a lost lease is for the report to find out"],
)
async def test_a_refusal_that_no_further_try_mends(
    tmp_path: Path, refusal: AccountAssetsFull | StatusCode, body: str
) -> None:
    async with uploading(tmp_path) as (scheduler, uploads, ready):
        scheduler.refuse_assets = [refusal]
        uploads.add(naming(tmp_path, "a", PICTURE, OTHER))
        result = await next_of(ready)
    full = isinstance(refusal, AccountAssetsFull)
    assert result.body == body
    assert left_out(result) == ({"0.png": "ACCOUNT_FULL"} if full else {})
    assert scheduler.assets == ([OTHER] if full else [])


async def test_uploads_that_wait_for_their_next_try_hold_up_no_other_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asset_uploads, "MIN_PAUSE", 3_600.0)
    async with uploading(tmp_path) as (scheduler, uploads, ready):
        scheduler.refuse_assets = [FULL] * asset_uploads.PARALLEL
        for lease_id in ("a", "b", "c"):
            uploads.add(naming(tmp_path, lease_id, PICTURE))
        result = await next_of(ready)
    assert [asset.name for asset in result.assets] == ["0.png"]


# Pictures that a result names by an address, from a real https server: which hosts, networks, redirects and sizes.

SERVED_PICTURE = png()
PRIVATE = (
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "224.0.0.1"),
    *("255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::"),
    *("168.63.129.16", "192.0.0.9", "192.0.0.170", "64:ff9b:1::1", "::ffff:168.63.129.16"),
    *("100::1", "1000::1", "4000::1", "5f00::1", "fec0::1", "2001:db8::1", "64:ff9b::808:808", "2002:808:808::"),
)


class Pictures(Handler):
    """`/go?URL` redirects there, `/endless` never ends, `/short` ends too early, `/hang` does not answer before the end
    of the test; other paths are the picture.
    """

    over = Event()

    def do_GET(self) -> None:
        path, _, target = self.path.partition("?")
        if path == "/go":
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()
            return
        if path.startswith("/hang"):
            self.over.wait()
        self.send_response(404 if path == "/none" else 200)
        if path != "/endless":
            self.send_header("Content-Length", str(len(SERVED_PICTURE) + (path == "/short")))
        self.end_headers()
        self.wfile.write(SERVED_PICTURE)
        with suppress(OSError):  # the peer has had enough
            while path == "/endless":
                self.wfile.write(bytes(64 * 1024))


@pytest.fixture(scope="module")
def certificates(certificates: Path) -> Path:
    """With one for `localhost`."""
    make_signed(certificates, "localhost", host="DNS:localhost")
    return certificates


@pytest.fixture
def port(certificates: Path) -> Iterator[int]:
    """That of the server, whose certificate is for `localhost`."""
    Pictures.over.clear()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates / "localhost.pem", certificates / "localhost.key")
    with HttpServer(Pictures, tls) as server:
        try:
            yield server.server_port
        finally:
            Pictures.over.set()


@pytest.fixture
def fetcher(certificates: Path, port: int) -> Fetcher:
    """It may connect to this machine, since nothing else is there for a test."""
    tls = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    return Fetcher([f"localhost:{port}"], lambda address: address.is_loopback, tls)


def fetched(fetcher: Fetcher, address: str, max_bytes: int = 1_000_000) -> bytes:
    return b"".join(fetcher.fetch(address, max_bytes))


def refusal(fetcher: Fetcher, address: str, max_bytes: int = 1_000_000) -> LeftOutReason:
    with pytest.raises(LeftOutError) as refused:
        fetched(fetcher, address, max_bytes)
    return refused.value.reason


def test_a_picture_of_an_allowed_host_is_read_through_redirects(fetcher: Fetcher, port: int) -> None:
    assert fetched(fetcher, f"https://localhost:{port}/a.png?x=1#y") == SERVED_PICTURE
    assert fetched(fetcher, f"https://localhost:{port}/go?/a.png") == SERVED_PICTURE


def test_what_is_not_allowed_is_refused_after_a_redirect_too(fetcher: Fetcher, port: int) -> None:
    for target in (
        "https://example.com/a.png",
        f"http://localhost:{port}/a.png",
        "https://localhost/a.png",
        "file:///etc/passwd",
    ):
        assert not fetcher.allows(target)
        assert refusal(fetcher, f"https://localhost:{port}/go?{target}") is LeftOutReason.HOST_NOT_ALLOWED


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/none", LeftOutReason.FETCH_FAILED),
        ("/short", LeftOutReason.FETCH_FAILED),
        ("/endless", LeftOutReason.TOO_LARGE),
        ("/go?", LeftOutReason.FETCH_FAILED),
    ],
)
def test_what_can_t_be_read_whole_is_left_out(fetcher: Fetcher, port: int, path: str, reason: LeftOutReason) -> None:
    assert refusal(fetcher, f"https://localhost:{port}{path}") is reason


def test_a_picture_must_have_come_in_time(fetcher: Fetcher, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """That holds for the lookup of its host too, which knows no limit."""
    monkeypatch.setattr(asset_sources, "FETCH_TIMEOUT", 0.3)
    assert refusal(fetcher, f"https://localhost:{port}/endless", 1 << 50) is LeftOutReason.FETCH_FAILED
    over = Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait())
    try:
        assert refusal(fetcher, f"https://localhost:{port}/a.png") is LeftOutReason.FETCH_FAILED
    finally:
        over.set()


async def test_all_pictures_of_a_result_have_one_time(tmp_path: Path, fetcher: Fetcher, port: int) -> None:
    base = f"https://localhost:{port}"
    hang = tuple(f"{base}/hang{n}" for n in range(5))
    article = Article("text", images=(f"{base}/a.png", *hang, f"{base}/b.png"))
    async with asyncio.timeout(30):  # one after the other they would take longer
        result = await taken(tmp_path, article, fetcher, fetch_within=3.0)
    assert result.images == ("asset:a.png", *article.images[1:])
    assert result.left_out == tuple(LeftOut(image, LeftOutReason.FETCH_FAILED) for image in article.images[1:])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/%2E%2E%2F%2E%2E%2Fhome%2Fme%2F.bashrc", ".bashrc"),
        ("/a/%2E%2E", "file"),
        ("/..%5C..%5Ca.png", "..-..-a.png"),
        ("/a%00.png", "a-.png"),
        ("/", "picture"),
    ],
)
async def test_a_picture_s_name_is_no_path_out_of_a_folder(
    tmp_path: Path, fetcher: Fetcher, port: int, path: str, name: str
) -> None:
    article = Article("text", images=(f"https://localhost:{port}{path}",))
    result = await taken(tmp_path, article, fetcher, fetch_within=30.0)
    assert [asset.name for asset in result.assets] == [name]


async def test_no_more_than_a_hundred_addresses_are_tried(tmp_path: Path, fetcher: Fetcher, port: int) -> None:
    base = f"https://localhost:{port}"
    good = tuple(f"{base}/{n}.png" for n in range(10))
    article = Article("text", images=(*good, *(f"{base}/none?{n}" for n in range(95))))
    result = await taken(tmp_path, article, fetcher, fetch_within=300.0)
    assert [file.reason for file in result.left_out] == [LeftOutReason.FETCH_FAILED] * 90 + [LeftOutReason.TOO_MANY] * 5


def test_a_worker_that_ends_waits_for_no_picture(tmp_path: Path, fetcher: Fetcher, port: int) -> None:
    article = Article("text", images=(f"https://localhost:{port}/hang",))

    async def ends_while_it_fetches() -> None:
        taking = asyncio.create_task(
            AssetFolder(tmp_path, disk, 1_000, fetcher).taken("lease", tmp_path, article, 60.0)
        )
        await wait_until_async(fetching_threads, within=10, what="a picture is fetched")
        taking.cancel()

    with ThreadPoolExecutor(1) as disk:
        ending = Thread(target=asyncio.run, args=[ends_while_it_fetches()])
        ending.start()
        ending.join(20)
        assert not ending.is_alive()
        assert all(thread.daemon for thread in fetching_threads())


def fetching_threads() -> list[Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "fetch"]


def test_a_certificate_of_another_name_or_authority_is_refused(certificates: Path, port: int) -> None:
    tls = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    for hosts, context in (([f"127.0.0.1:{port}"], tls), ([f"localhost:{port}"], ssl.create_default_context())):
        wanted = Fetcher(hosts, lambda _: True, context)
        assert refusal(wanted, f"https://{hosts[0]}/a.png") is LeftOutReason.FETCH_FAILED


@pytest.mark.parametrize(
    ("host", "address", "allowed"),
    [
        ("a.com", "https://a.com/x", True),
        ("a.com", "https://A.COM:443", True),
        ("a.com", "https://a.com:8443/x", False),
        ("a.com:8443", "https://a.com:8443/x", True),
        ("a.com", "https://b.a.com/x", False),
        ("*.a.com", "https://b.c.a.com/x", True),
        ("*.a.com", "https://a.com/x", False),
        ("*.a.com", "https://ba.com/x", False),
        ("a.com", "https://a.com@b.com/x", False),
        ("a.com", "https://user@a.com/x", False),
        ("a.com", "http://a.com/x", False),
        ("a.com", "https://a.com:x/", False),
        ("a.com", "https://[::1/", False),
    ],
)
def test_which_hosts_are_allowed(host: str, address: str, allowed: bool) -> None:
    assert Fetcher([host]).allows(address) is allowed


@pytest.mark.parametrize(
    ("address", "public"),
    [("93.184.216.34", True), ("2606:2800:220:1::1", True), *((private, False) for private in PRIVATE)],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


async def test_an_article_gets_the_pictures_of_allowed_addresses(tmp_path: Path, fetcher: Fetcher, port: int) -> None:
    base = f"https://localhost:{port}"
    article = Article(f"![]({base}/a.png) ![]({base}/a.png) ![](https://example.com/b.png)", images=(f"{base}/none",))
    assets = AssetFolder(tmp_path / "assets", EXECUTOR, 1_000, fetcher)
    assert assets.may_fetch(article)
    assert not AssetFolder(tmp_path, EXECUTOR, 1_000).may_fetch(article)
    before = await taken(tmp_path, article, fetcher)
    after = await taken(tmp_path, article, fetcher, fetch_within=30.0)
    assert dict(before.left_out)[f"{base}/a.png"] is LeftOutReason.FETCH_FAILED
    assert after.content == "![](asset:a.png) ![](asset:a.png) ![](https://example.com/b.png)"
    assert [(asset.name, asset.sha256) for asset in after.assets] == [("a.png", sha256(SERVED_PICTURE))]
    assert after.left_out == (
        LeftOut(f"{base}/none", LeftOutReason.FETCH_FAILED),
        LeftOut("https://example.com/b.png", LeftOutReason.HOST_NOT_ALLOWED),
    )
    assert assets.file("lease", sha256(SERVED_PICTURE)).read_bytes() == SERVED_PICTURE
