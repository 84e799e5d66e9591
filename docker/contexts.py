"""What `docker build` needs of an image without the clone: a Dockerfile of its own, and all that this copies.

It is docker/Dockerfile without other images' stages. The wheel is the released one, not built in a stage, and the
version is known.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
IMAGES = ("scheduler", "worker", "worker-llm-content-creator", "console", "backup")
_STAGE = re.compile(r"^FROM \S+ AS (\S+)$", re.MULTILINE)
_FROM = re.compile(r"(?:^FROM |from=)([\w-]+)", re.MULTILINE)
_COPY = re.compile(r"^COPY (?!--from)(?:--\S+ )*(.+) \S+$", re.MULTILINE)
_WHEEL = "FROM scratch AS wheel\nCOPY wheel /wheel"


class Release(NamedTuple):
    version: str
    commit: str
    source: str
    """The repository's address; empty if nobody said it."""


def dockerfile(image: str, release: Release) -> str:
    head, *stages = (ROOT / "docker/Dockerfile").read_text(encoding="utf-8").strip().split("\n\n")
    by_name = {match[1]: stage for stage in stages if (match := _STAGE.search(stage))} | {"wheel": _WHEEL}
    needed, pending = {"scratch"}, {image}
    while pending:
        needed |= pending
        pending = {name for stage in pending for name in _FROM.findall(by_name[stage])} - needed
    pinned = "\n".join(re.findall("^ARG (?:BASE|SNAPSHOT)=.*$", head, re.MULTILINE))
    labels = {"revision": release.commit, "source": release.source or "unknown"}
    label = "LABEL " + " ".join(f"org.opencontainers.image.{name}={text}" for name, text in labels.items())
    use = f"# contentgen-{image} {release.version}: docker build -t contentgen-{image} ."
    head = f"# syntax=docker/dockerfile:1\n{use}\n{pinned}\nARG VERSION={release.version}"
    return "\n\n".join([head, *(stage for name, stage in by_name.items() if name in needed), label]) + "\n"


def copied(text: str) -> list[str]:
    """Returns the files of its context that a Dockerfile copies."""
    return [name for names in _COPY.findall(text) for name in names.split()]


def write_context(image: str, release: Release, wheel: Path, folder: Path) -> None:
    text = dockerfile(image, release)
    (folder / "wheel").mkdir(parents=True)
    shutil.copy(wheel, folder / "wheel")
    (folder / "Dockerfile").write_text(text, encoding="utf-8")
    for name in {*copied(text)} - {"wheel"}:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
