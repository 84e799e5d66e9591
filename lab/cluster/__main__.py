"""`make cluster`: a whole deployment on this machine, under load, to be killed. `--help` says how."""

from __future__ import annotations

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # before gRPC is imported: processes are started beside it

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from contentgen.stack.processes import Interrupted, Interrupts
from lab.cluster import options, patroni
from lab.cluster.cluster import ClusterError
from lab.cluster.run import run
from lab.deployment.deployment import enter_namespace
from tests.harness.cluster import server_folder


def main(arguments: Sequence[str]) -> int:
    choices = options.read(arguments)
    disks = enter_namespace() is None
    if choices.patroni and (why := patroni.enter_network()):
        print(f"cluster failed: {why}", file=sys.stderr)
        return 1
    with Interrupts() as interrupts, _folder(choices.folder) as folder:
        try:
            return run(folder, choices, interrupts, disks=disks)
        except ClusterError as error:
            print(f"cluster failed: {error}", file=sys.stderr)
            return 1
        except Interrupted:
            print("interrupted before it was up; everything is stopped", file=sys.stderr)
            return 130


@contextmanager
def _folder(parent: Path | None) -> Iterator[Path]:
    """Yields one of its own, that another user's PostgreSQL can reach, and whose name no other process has."""
    if parent is None:
        with server_folder() as folder:
            yield folder
    else:
        parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="cluster-", dir=parent.resolve()))
        folder.chmod(0o711)
        yield folder


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
