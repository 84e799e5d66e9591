"""The console's process and its HTTP server, without a browser."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from console_svc.serving import Server
from contentgen.certificates import earliest_expiry
from contentgen.service.values import Address
from tests.harness.console import Console, Visitor
from tests.harness.credentials import make_signed, shown_on
from tests.harness.processes import free_port
from tests.harness.replicas import serving, serving_beside
from tests.harness.scrape import Scrape
from tests.harness.waiting import PATIENCE_S, wait_until_async

pytestmark = pytest.mark.integration


# The console's process without a scheduler: the certificate that it starts with, and TERM at once.


NOBODY = "127.0.0.1:1"
STARTS, STOPS = 20.0, 10.0


def tls(folder: Path, cert: str, key: str) -> dict[str, str]:
    return {
        "CONTENTGEN_CONSOLE_TLS_CERT": str(folder / f"{cert}.pem"),
        "CONTENTGEN_CONSOLE_TLS_KEY": str(folder / f"{key}.key"),
    }


def test_a_start_with_an_expired_certificate_is_logged(certificates: Path, tmp_path: Path) -> None:
    shutil.copytree(certificates, tmp_path, dirs_exist_ok=True)
    make_signed(tmp_path, "expired", days=0)
    with Console(tmp_path, NOBODY, **tls(tmp_path, "expired", "expired")) as console:
        console.wait_for("ready", within=STARTS)
        [warning] = console.events("certificate")
        assert warning["setting"] == "CONTENTGEN_CONSOLE_TLS_CERT"
        console.stop(STOPS)


def test_a_start_refuses_files_that_do_not_belong_together(certificates: Path, tmp_path: Path) -> None:
    with Console(tmp_path, NOBODY, **tls(certificates, "server", "other")) as console:
        console.ended(STARTS, 78)
        assert "must be PEM files that belong together" in console.text()


async def test_certificates_are_replaced_without_a_restart(db_url: str, certificates: Path, tmp_path: Path) -> None:
    """Those for browsers, and those for the schedulers, in a session that goes on."""

    def put(source: str, authority: str) -> None:
        shutil.copy(certificates / f"{authority}.pem", tmp_path / "ca.pem")
        for kind in ("pem", "key"):
            shutil.copy(certificates / f"{source}.{kind}", tmp_path / f"own.{kind}")

    put("server", "ca")
    own, key, ca = (tmp_path / name for name in ("own.pem", "own.key", "ca.pem"))
    scheduler: dict[str, Any] = {
        "listen": Address("127.0.0.1", free_port()),
        "tls_cert": own,
        "tls_key": key,
        "tls_client_ca": ca,
    }
    names = {"CA": ca, "CLIENT_CERT": own, "CLIENT_KEY": key}
    settings = {f"CONTENTGEN_TLS_{name}": str(path) for name, path in names.items()} | tls(tmp_path, "own", "own")
    measured = {"CONTENTGEN_METRICS_LISTEN": f"127.0.0.1:{free_port()}"}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(db_url))  # whose end ends the loop's threads
        console = stack.enter_context(Console(tmp_path, str(scheduler["listen"]), **settings, **measured))
        console.wait_for("ready", within=STARTS)
        context = ssl.create_default_context(cafile=str(ca))
        visitor = Visitor(console.url.replace("http:", "https:"), context)

        async def page() -> int:
            return (await asyncio.to_thread(visitor.get, "/tasks")).status

        async with serving_beside(db_url, **scheduler):
            assert await page() == 200
        put("other", "other")
        end = earliest_expiry(own.read_bytes())
        assert end is not None
        port = int(measured["CONTENTGEN_METRICS_LISTEN"].partition(":")[2])
        variables = ("CONTENTGEN_TLS_CA", "CONTENTGEN_TLS_CLIENT_CERT", "CONTENTGEN_CONSOLE_TLS_CERT")

        def ends() -> set[float]:
            scrape = Scrape(port)
            return {scrape("contentgen_certificate_expiry_timestamp_seconds", setting=name) for name in variables}

        await wait_until_async(lambda: ends() == {end.timestamp()}, within=PATIENCE_S, what="they are read again")
        context.load_verify_locations(ca)
        async with serving_beside(db_url, **scheduler):

            async def again() -> bool:
                return await page() == 200

            await wait_until_async(again, within=PATIENCE_S, what="its pages are shown")
        assert await asyncio.to_thread(shown_on, console.port) == ssl.PEM_cert_to_DER_cert(own.read_text())
        console.stop(STOPS)


# The console's HTTP server with peers that say nothing, little, or take no answer: none takes what others need.


WAIT_LIMIT = 0.5
REQUEST = b"GET /%b HTTP/1.1\r\nHost: localhost\r\n\r\n"
FORM = b"POST /%b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8388608\r\n\r\n"
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _word(_: Request) -> Response:
    return PlainTextResponse("word")


async def _endless(_: Request) -> Response:
    async def zeros() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 20)
            await asyncio.sleep(0)  # nothing else lets others run once nobody is there

    return StreamingResponse(zeros())


async def _quiet(_: Request) -> Response:
    async def word() -> AsyncIterator[bytes]:
        yield b"word"
        await asyncio.Event().wait()

    return StreamingResponse(word())


APP = Starlette(routes=[Route("/word", _word), Route("/endless", _endless), Route("/quiet", _quiet)])


@asynccontextmanager
async def served(
    connections: int = 100, *, wait_limit: float = WAIT_LIMIT, cert: Path | None = None, key: Path | None = None
) -> AsyncIterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(APP, connections, wait_limit=wait_limit, cert=cert, key=key)
        job = asyncio.create_task(server.serve([listening]))
        try:
            async with asyncio.timeout(PATIENCE_S):
                yield Served(server, listening.getsockname()[1])
        finally:
            server.should_exit = True
            await job


@dataclass(frozen=True)
class Served:
    server: Server
    port: int

    async def connect(self, *sent: bytes, tls: ssl.SSLContext | None = None) -> Stream:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=tls)
        writer.writelines(sent)
        return reader, writer

    async def word(self, tls: ssl.SSLContext | None = None) -> bytes:
        reader, writer = await self.connect(REQUEST % b"word", tls=tls)
        answer = await reader.readuntil(b"word")
        writer.transport.abort()
        return answer

    async def connections(self, number: int) -> None:
        """Returns once there are so many."""
        present = self.server.server_state.connections
        await wait_until_async(lambda: len(present) == number, within=PATIENCE_S, what=f"there are {number}")


async def rest(stream: Stream, *, dripping: bool = False) -> bytes:
    """What comes until the server closes the connection, to which a byte is sent from time to time if it drips."""
    reader, writer = stream
    received = b""
    with suppress(ConnectionError):
        while not reader.at_eof():
            with suppress(TimeoutError):
                received += await asyncio.wait_for(reader.read(65_536), WAIT_LIMIT / 10)
            if dripping:
                writer.write(b"x")
                await writer.drain()
    writer.transport.abort()
    return received


async def test_a_peer_that_says_too_little_is_cut_off() -> None:
    async with served() as place:
        silent = await place.connect()
        slow_headers = await place.connect(b"GET /word HTTP/1.1\r\nX: ")
        slow_body = await place.connect(FORM % b"nowhere")
        next_request = await place.connect(REQUEST % b"word", b"GET /word HTTP/1.1\r\nX: ")
        ends = await asyncio.gather(
            rest(silent),
            rest(slow_headers, dripping=True),
            rest(slow_body, dripping=True),
            rest(next_request, dripping=True),
        )
    assert [*ends[:2]] == [b"", b""]
    assert ends[2].startswith(b"HTTP/1.1 404")
    assert ends[3].endswith(b"word")


async def test_a_peer_that_takes_no_answer_is_cut_off_and_one_whose_answer_is_quiet_is_not() -> None:
    async with served() as place:
        reader, quiet = await place.connect(REQUEST % b"quiet")
        await reader.readuntil(b"word")
        _, deaf = await place.connect(REQUEST % b"endless")
        cast("asyncio.Transport", deaf.transport).pause_reading()
        await place.connections(2)
        await place.connections(1)
        assert not reader.at_eof()
        for writer in (quiet, deaf):
            writer.transport.abort()


async def test_whoever_has_waited_for_longest_gives_way_and_whoever_is_served_does_not() -> None:
    async with served(connections=3, wait_limit=PATIENCE_S) as place:
        idle = [await place.connect() for _ in range(3)]
        assert (await place.word()).endswith(b"word")
        assert await rest(idle[0]) == b""
        for _, writer in idle:
            writer.transport.abort()
        await place.connections(0)
        quiet = [await place.connect(REQUEST % b"quiet") for _ in range(3)]
        for reader, _ in quiet:
            await reader.readuntil(b"word")
        assert await rest(await place.connect(REQUEST % b"word")) == b""
        assert not any(reader.at_eof() for reader, _ in quiet)
        quiet.pop()[1].transport.abort()
        await place.connections(2)
        assert (await place.word()).endswith(b"word")
        for _, writer in quiet:
            writer.transport.abort()


async def test_a_handshake_that_stalls_is_a_connection_like_others(certificates: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    cert, key = certificates / "server.pem", certificates / "server.key"
    async with served(connections=2, wait_limit=PATIENCE_S, cert=cert, key=key) as place:
        idle = [await place.connect() for _ in range(2)]
        assert (await place.word(context)).endswith(b"word")
        assert await rest(idle[0]) == b""
        idle[1][1].transport.abort()
    async with served(cert=cert, key=key) as place:
        assert await rest(await place.connect(b"\x16")) == b""
        assert b"HTTP/1.1 200" not in await rest(await place.connect(REQUEST % b"word"))
    async with served(wait_limit=PATIENCE_S, cert=cert, key=key) as place:
        assert (await place.word(context)).endswith(b"word")
