"""A real Prometheus and Alertmanager with our rules and routes, and the balancer of compose.prod."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from tests.harness.process import Process, inherited, program
from tests.harness.processes import free_port
from tests.harness.proxies import running_haproxy
from tests.harness.receivers import Receiver
from tests.harness.scrape import get
from tests.harness.stack import Stack
from tests.harness.waiting import PATIENCE_S, wait_until
from tests.lab.test_monitoring import QUERIES, RULES

pytestmark = pytest.mark.e2e

WITHIN = 60.0
LISTEN = "127.0.0.1:0"
_ADDRESS = re.compile(r'msg="Listening on" address=127\.0\.0\.1:(\d+)')
_READY = "Server is ready to receive web requests."
_WAITS = re.compile(r"^( +(?:for|group_wait|group_interval): ).*", re.MULTILINE)
_URL_FILE = re.compile(r"url_file: /run/secrets/alert-(\w+)-url")
_EXPECTED = {"scheduler": 1, "worker": 1, "console": 0, "standby": 0}


class Prometheus:
    """Asks it by its HTTP API."""

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, path: str, **query: str) -> Any:
        status, text = get(self._port, f"/api/v1/{path}?{urlencode(query)}")
        assert status == 200, text
        return json.loads(text)["data"]

    def firing(self) -> dict[str, set[str]]:
        """The instances of each alert that fires."""
        instances: dict[str, set[str]] = {}
        for alert in self.ask("alerts")["alerts"]:
            if alert["state"] == "firing":
                instances.setdefault(alert["labels"]["alertname"], set()).add(alert["labels"].get("instance", ""))
        return instances

    def up(self) -> set[str]:
        """The instances that it has scraped."""
        targets = self.ask("targets")["activeTargets"]
        return {target["labels"]["instance"] for target in targets if target["health"] == "up"}


class Targets:
    """Files by which Prometheus discovers what it scrapes; it sees a change at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, job: str, *targets: str) -> None:
        new = self._folder / f"{job}.new"
        new.write_text(json.dumps([{"targets": list(targets)}]))
        new.rename(self._folder / f"{job}.json")


def without_waits(path: Path) -> str:
    return _WAITS.sub(r"\g<1>1s", path.read_text(encoding="utf-8"))


@contextmanager
def sending(folder: Path, receiver: Receiver) -> Iterator[int]:
    """An Alertmanager with our routes: yields its port. The name of each receiver is the path that it is sent to."""
    port = free_port()
    text = _URL_FILE.sub(rf"url: {receiver.url}/\1", without_waits(RULES.with_name("alertmanager.yaml")))
    (folder / "alertmanager.yaml").write_text(text)
    options = [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=", "--storage.path=alerts"]
    command = [program("prometheus-alertmanager"), "--config.file=alertmanager.yaml", *options]
    with Process("alertmanager", command, folder / "alertmanager.log", inherited()) as process:
        wait_until(lambda: "Listening on" in process.text(), within=WITHIN, what="Alertmanager is ready")
        yield port


@contextmanager
def watching(folder: Path, alertmanager: int) -> Iterator[Prometheus]:
    """It scrapes and evaluates each second, and an alert fires after one."""
    (folder / RULES.name).write_text(without_waits(RULES))
    numbers = [
        {"record": "contentgen:expected:count", "labels": {"role": role}, "expr": f"vector({number})"}
        for role, number in _EXPECTED.items()
    ]
    (folder / "expected.yaml").write_text(yaml.safe_dump({"groups": [{"name": "expected", "rules": numbers}]}))
    jobs = ("contentgen-scheduler", "contentgen-worker")
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [RULES.name, "expected.yaml"],
        "scrape_configs": [{"job_name": job, "file_sd_configs": [{"files": [f"{job}.json"]}]} for job in jobs],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]},
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings))
    command = [program("prometheus"), "--config.file=prometheus.yaml", "--storage.tsdb.path=data"]
    with Process("prometheus", [*command, f"--web.listen-address={LISTEN}"], folder / "log", inherited()) as process:
        wait_until(lambda: _READY in process.text(), within=WITHIN, what="Prometheus is ready")
        (port,) = _ADDRESS.findall(process.text())
        yield Prometheus(int(port))


def sent(receiver: Receiver) -> set[tuple[str, str]]:
    """What has arrived: the name of a receiver, and an alert that fires."""
    return {
        (request.path.rpartition("/")[2], alert["labels"]["alertname"])
        for request in list(receiver.received)
        for alert in request.message["alerts"]
        if alert["status"] == "firing"
    }


@pytest.mark.costly("services, Prometheus and Alertmanager", seconds=3)
def test_what_ends_or_is_no_longer_discovered_reaches_the_receiver_of_its_severity(
    stack: Stack, tmp_path: Path
) -> None:
    scheduler = stack.scheduler(lease_ttl=30, CONTENTGEN_METRICS_LISTEN=LISTEN).start()
    worker = stack.worker("worker", scheduler, CONTENTGEN_METRICS_LISTEN=LISTEN).start()
    client = scheduler.client
    client.wait_completed(client.submit(client.create_account(), options={"demo-seconds": "0.1"}), within=WITHIN)
    of_scheduler, of_worker = (f"127.0.0.1:{service.metrics_port}" for service in (scheduler, worker))
    targets = Targets(tmp_path)
    targets.write("contentgen-scheduler", of_scheduler)
    targets.write("contentgen-worker", of_worker)
    with Receiver() as receiver, sending(tmp_path, receiver) as port, watching(tmp_path, port) as prometheus:
        wait_until(lambda: prometheus.up() == {of_scheduler, of_worker}, within=WITHIN, what="both are scraped")
        recorded = "contentgen:worker_free_slots:sum"
        wait_until(lambda: prometheus.ask("query", query=recorded)["result"], within=WITHIN, what="rules are evaluated")
        wait_until(lambda: not prometheus.firing(), within=WITHIN, what="nothing fires")
        for query in QUERIES:
            prometheus.ask("query", query=query.expression)
        rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
        assert [(rule["name"], rule["lastError"]) for rule in rules if "lastError" in rule] == []

        worker.kill()
        alerts = {"ContentgenProcessDown": {of_worker}, "ContentgenProcessesMissing": {""}}
        wait_until(lambda: prometheus.firing() == alerts, within=WITHIN, what="its end is told")
        targets.write("contentgen-worker")
        alerts = {"ContentgenProcessesMissing": {""}}
        wait_until(lambda: prometheus.firing() == alerts, within=WITHIN, what="it is no longer discovered, and missed")
        told = {("warning", "ContentgenProcessDown"), ("warning", "ContentgenProcessesMissing")}
        wait_until(lambda: sent(receiver) == told, within=WITHIN, what="that reaches somebody")
        scheduler.kill()
        told |= {("critical", "ContentgenNoSchedulerServes")}
        wait_until(lambda: sent(receiver) == told, within=WITHIN, what="the scheduler's end reaches who is on call")


# The balancer of docker/compose.prod.yaml, as a process: what one source may take of it. It needs HAProxy itself.


CONFIG = Path(__file__).parents[2] / "docker/prod/haproxy.cfg"
CONNECTIONS, CONCURRENT = 200, 50
RATE, FEW = 500, 100


class EchoServer(ThreadingTCPServer):
    request_queue_size = CONCURRENT


class Echo(BaseRequestHandler):
    def handle(self) -> None:
        with suppress(ConnectionError):
            while data := self.request.recv(100):
                self.request.sendall(data)


@pytest.fixture
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """That of the balancer, in front of a server that returns what it gets; the parameter is another rate."""
    with EchoServer(("127.0.0.1", 0), Echo) as server, ThreadPoolExecutor(1) as accepting:
        behind, port = server.server_address[1], free_port()
        text = re.sub(r"server-template .*", f"server scheduler 127.0.0.1:{behind}", CONFIG.read_text())
        text = text.replace("bind :50051", f"bind 127.0.0.1:{port}")
        for other in ("bind :8405", "bind 127.0.0.1:8404"):
            text = text.replace(other, f"bind 127.0.0.1:{free_port()}")
        rate = f"sc0_conn_rate gt {RATE} "
        assert rate in text
        text = text.replace(rate, f"sc0_conn_rate gt {getattr(request, 'param', RATE)} ")
        config = tmp_path / "haproxy.cfg"
        config.write_text(text)
        accepting.submit(server.serve_forever, 0.05)
        try:
            with contextmanager(running_haproxy)(config, port):
                yield port
        finally:
            server.shutdown()


async def lets_in(port: int, source: str, peers: AsyncExitStack) -> bool:
    """Whether a connection of this source is passed on; it stays open until `peers` ends."""
    with suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
            peers.callback(writer.close)
            writer.write(b"x")
            return await reader.read(1) == b"x"
    return False


async def test_a_source_has_a_number_of_connections_and_leaves_others_theirs(port: int) -> None:
    async with AsyncExitStack() as peers:
        for _ in range(CONNECTIONS):
            assert await lets_in(port, "127.0.0.2", peers)
        assert not await lets_in(port, "127.0.0.2", peers)
        assert await lets_in(port, "127.0.0.3", peers)


@pytest.mark.parametrize("port", [FEW], indirect=True)
async def test_a_source_begins_a_number_of_connections_in_ten_seconds(port: int) -> None:
    async with asyncio.timeout(60):
        while all(await begun(port, CONCURRENT)):
            pass
    assert await begun(port, 1, "127.0.0.3") == [True]


async def begun(port: int, count: int, source: str = "127.0.0.2") -> list[bool]:
    """Of so many connections at once, which are passed on; they are closed again."""
    async with AsyncExitStack() as peers:
        return await asyncio.gather(*(lets_in(port, source, peers) for _ in range(count)))
