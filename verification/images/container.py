"""An image, unpacked into a folder, and its processes: contained without an engine, as an engine contains them."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.harness.process import Process, program, run_to_end
from tests.harness.processes import children
from tests.harness.waiting import wait_until

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
exec chroot {root} setpriv --reuid={user} --regid={user} --clear-groups --no-new-privs --bounding-set=-all \\
    --inh-caps=-all "$@"
"""
"""A read-only root, no capability, none to be gained, and process 1 of a space of its own."""


@dataclass(frozen=True)
class Image:
    """An image, and the folder that its files are in."""

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
