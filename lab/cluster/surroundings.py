"""What the commands of a runbook need, as a file for a shell beside a cluster. Beside `monitoring`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from lab.cluster.nodes import Node

FILE = "env"


def write(folder: Path, settings: Mapping[str, str], schedulers: Mapping[str, str], nodes: Iterable[Node]) -> None:
    """`settings`; the addresses of `schedulers`, by name; and of each of `nodes` its folder and the one of its metrics.

    A shell that has read it finds this checkout's commands first.
    """
    values = {**settings, **{_variable(name): address for name, address in schedulers.items()}}
    for node in nodes:
        values.update(_of(node, folder))
    path = folder / FILE
    lines = [
        f"# For a shell in which commands of docs/runbooks are typed: `. {path}`",
        f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH",
        *(f"export {name}={shlex.quote(value)}" for name, value in values.items()),
    ]
    new = path.with_suffix(".new")
    new.write_text("\n".join(lines) + "\n", encoding="utf-8")
    new.replace(path)


def _of(node: Node, folder: Path) -> Iterator[tuple[str, str]]:
    if node.probes is not None:
        yield f"{_variable(node.name)}_METRICS", f"127.0.0.1:{node.probes}"
        yield f"{_variable(node.name)}_DATA", str(folder / node.name)


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")
