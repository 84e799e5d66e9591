"""Pictures that a result names by an address, from a real https server: which hosts, networks, redirects and sizes."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.harness.certificates import make_signed
from tests.harness.pictures import png, sha256
from tests.harness.waiting import wait_until_async
from worker_svc import fetching
from worker_svc.asset_folder import AssetFolder
from worker_svc.fetching import Fetcher, is_public
from worker_svc.outcome import Article, LeftOut, LeftOutReason
from worker_svc.run_files import LeftOutError

PICTURE = png()
PRIVATE = (
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "224.0.0.1"),
    *("255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::"),
    *("168.63.129.16", "192.0.0.9", "192.0.0.170", "64:ff9b:1::1", "::ffff:168.63.129.16"),
    *("100::1", "1000::1", "4000::1", "5f00::1", "fec0::1", "2001:db8::1", "64:ff9b::808:808", "2002:808:808::"),
)


class Pictures(BaseHTTPRequestHandler):
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
            self.send_header("Content-Length", str(len(PICTURE) + (path == "/short")))
        self.end_headers()
        self.wfile.write(PICTURE)
        with suppress(OSError):  # the peer has had enough
            while path == "/endless":
                self.wfile.write(bytes(64 * 1024))

    def log_message(self, *_: object) -> None:
        """Prints nothing."""


@pytest.fixture(scope="module")
def certificates(certificates: Path) -> Path:
    """With one for `localhost`."""
    make_signed(certificates, "localhost", host="DNS:localhost")
    return certificates


@pytest.fixture
def port(certificates: Path) -> Iterator[int]:
    """That of the server, whose certificate is for `localhost`."""
    Pictures.over.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pictures)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates / "localhost.pem", certificates / "localhost.key")
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    try:
        yield server.server_port
    finally:
        Pictures.over.set()
        server.shutdown()
        serving.join()
        server.server_close()


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
    assert fetched(fetcher, f"https://localhost:{port}/a.png?x=1#y") == PICTURE
    assert fetched(fetcher, f"https://localhost:{port}/go?/a.png") == PICTURE


def test_what_is_not_allowed_is_refused_after_a_redirect_too(fetcher: Fetcher, port: int) -> None:
    for target in (
        "https://example.com/a.png",
        f"http://localhost:{port}/a.png",
        "https://localhost/a.png",
        "file:///etc/passwd",
    ):
        assert not fetcher.allows(target)
        assert refusal(fetcher, f"https://localhost:{port}/go?{target}") is LeftOutReason.HOST_NOT_ALLOWED


def test_a_private_network_is_refused_whatever_its_name(certificates: Path, port: int) -> None:
    tls = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    assert (
        refusal(Fetcher([f"localhost:{port}"], tls=tls), f"https://localhost:{port}/a.png")
        is LeftOutReason.HOST_NOT_ALLOWED
    )


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
    monkeypatch.setattr(fetching, "FETCH_TIMEOUT", 0.3)
    assert refusal(fetcher, f"https://localhost:{port}/endless", 1 << 50) is LeftOutReason.FETCH_FAILED


def test_a_lookup_that_hangs_ends_in_time(fetcher: Fetcher, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    over = Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait())
    try:
        with pytest.raises(LeftOutError) as refused:
            next(fetcher.fetch(f"https://localhost:{port}/a.png", 1_000_000, time.monotonic() + 0.2))
        assert refused.value.reason is LeftOutReason.FETCH_FAILED
    finally:
        over.set()


async def test_all_pictures_of_a_result_have_one_time(tmp_path: Path, fetcher: Fetcher, port: int) -> None:
    base = f"https://localhost:{port}"
    hang = tuple(f"{base}/hang{n}" for n in range(5))
    article = Article("text", images=(f"{base}/a.png", *hang, f"{base}/b.png"))
    with ThreadPoolExecutor(1) as disk:
        assets = AssetFolder(tmp_path, disk, 1_000, fetcher)
        async with asyncio.timeout(30):  # one after the other they would take longer
            taken = await assets.taken("lease", tmp_path, article, fetch_within=3.0)
    assert taken.images == ("asset:a.png", *article.images[1:])
    assert taken.left_out == tuple(LeftOut(image, LeftOutReason.FETCH_FAILED) for image in article.images[1:])


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
    with ThreadPoolExecutor(1) as disk:
        taken = await AssetFolder(tmp_path, disk, 1_000, fetcher).taken("lease", tmp_path, article, fetch_within=30.0)
    assert [asset.name for asset in taken.assets] == [name]


async def test_no_more_than_a_hundred_addresses_are_tried(tmp_path: Path, fetcher: Fetcher, port: int) -> None:
    base = f"https://localhost:{port}"
    good = tuple(f"{base}/{n}.png" for n in range(10))
    article = Article("text", images=(*good, *(f"{base}/none?{n}" for n in range(95))))
    with ThreadPoolExecutor(1) as disk:
        taken = await AssetFolder(tmp_path, disk, 1_000, fetcher).taken("lease", tmp_path, article, fetch_within=300.0)
    assert [file.reason for file in taken.left_out] == [LeftOutReason.FETCH_FAILED] * 90 + [LeftOutReason.TOO_MANY] * 5


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
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        *((private, False) for private in PRIVATE),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


async def test_an_article_gets_the_pictures_of_allowed_addresses(tmp_path: Path, fetcher: Fetcher, port: int) -> None:
    base = f"https://localhost:{port}"
    (tmp_path / "assets").mkdir()
    article = Article(f"![]({base}/a.png) ![]({base}/a.png) ![](https://example.com/b.png)", images=(f"{base}/none",))
    with ThreadPoolExecutor(1) as disk:
        assets = AssetFolder(tmp_path / "assets", disk, 1_000, fetcher)
        assert assets.may_fetch(article)
        before = await assets.taken("lease", tmp_path, article)
        after = await assets.taken("lease", tmp_path, article, fetch_within=30.0)
        assert AssetFolder(tmp_path, disk, 1_000).may_fetch(article) is False
        await asyncio.get_running_loop().shutdown_default_executor()
    assert dict(before.left_out)[f"{base}/a.png"] is LeftOutReason.FETCH_FAILED
    assert after.content == "![](asset:a.png) ![](asset:a.png) ![](https://example.com/b.png)"
    assert [(asset.name, asset.sha256) for asset in after.assets] == [("a.png", sha256(PICTURE))]
    assert after.left_out == (
        LeftOut(f"{base}/none", LeftOutReason.FETCH_FAILED),
        LeftOut("https://example.com/b.png", LeftOutReason.HOST_NOT_ALLOWED),
    )
    assert assets.file("lease", sha256(PICTURE)).read_bytes() == PICTURE
