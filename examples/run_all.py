"""`make examples`: each example, one after the other, against a stack of its own that is gone afterwards.

Exit statuses: 0 all ended well; 1 one did not, or the stack failed; 130 interrupted. The Node example is skipped, with
a line that says so, where there is no npm.
"""

from __future__ import annotations

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # before gRPC is imported: processes are started beside it

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from contentgen import ContentGenerationClient
from contentgen.stack.processes import Interrupts, StackError, status_of
from contentgen.stack.services import Stack, environment, throwaway_folder

HERE = Path(__file__).parent
PYTHON = ("submit_and_wait.py", "wait_for_many.py", "watch.py", "batch.py", "review_and_publish.py")
LIMIT = 120.0
"""Seconds for one example: far more than it takes."""
INSTALL_LIMIT = 300.0
"""Seconds for npm, which fetches thirty small packages the first time."""
GRACE = 0.5
"""Seconds that CLIs get at the end: where all went well nothing runs any more."""


def run(interrupts: Interrupts) -> None:
    parser = argparse.ArgumentParser(prog="examples.run_all", allow_abbrev=False)
    parser.add_argument("--python", help="run the Python examples only, by this interpreter and its packages")
    python = parser.parse_args().python
    with throwaway_folder("examples") as folder:
        settings = {**environment(folder), "CREATOR_DEMO_SECONDS": "0.5", "CONTENTGEN_SLOTS": "3"}
        with Stack(settings, folder / "logs", GRACE, interrupts) as stack:
            _Examples(stack, folder / "logs").run(python)
    print("\nall examples ended well")


class _Examples:
    """Programs that are run one after the other while the stack is looked after."""

    def __init__(self, stack: Stack, logs: Path) -> None:
        self._stack = stack
        self._logs = logs

    def run(self, python: str | None) -> None:
        """Runs all, or the Python ones by this one. Raises StackError where one fails, Interrupted by a signal."""
        with ContentGenerationClient(self._stack.target) as client:
            client.create_account("examples")  # the first: account 1, which they use
        for name in PYTHON:
            self._example(f"python/{name}", python or sys.executable)
        if python:
            return
        if shutil.which("node") and shutil.which("npm"):
            self._example("node/submit_and_wait.js", "node", NODE_PATH=str(self._node_modules("node")))
            self._typescript()
        else:
            print(
                "\n== those for Node are skipped: they need node and npm, which are not here (Debian: apt install npm)"
            )

    def _example(self, name: str, program: str, **variables: str) -> None:
        print(f"\n== examples/{name}", flush=True)
        variables["CONTENTGEN_SCHEDULER"] = self._stack.target
        self._program(f"examples/{name}", [program, str(HERE / name)], variables, LIMIT)

    def _typescript(self) -> None:
        """Builds it in a copy: the checkout stays as it is."""
        print("\n== examples/typescript/watch_until_ended.ts", flush=True)
        folder = self._logs.parent / "typescript"
        shutil.copytree(HERE / "typescript", folder, ignore=shutil.ignore_patterns("node_modules", "gen", "build"))
        (folder / "node_modules").symlink_to(self._node_modules("typescript"))
        programs, protos = folder / "node_modules/.bin", HERE.parent / "protos"
        path = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(folder)}
        generate = ["buf", "generate", str(protos), "--path", str(protos / "contentgen/v1")]
        for name, argv in (
            ("buf", generate),
            ("tsc", ["tsc"]),
            ("the example", ["node", "build/watch_until_ended.js"]),
        ):
            variables = {**path, "CONTENTGEN_SCHEDULER": self._stack.target}
            self._program(
                name, [shutil.which(argv[0], path=path["PATH"]) or argv[0], *argv[1:]], variables, LIMIT, folder
            )

    def _program(
        self, name: str, argv: Sequence[str], variables: Mapping[str, str], within: float, folder: Path | None = None
    ) -> None:
        """Runs it to its end; however that comes, nothing of it is left."""
        environment = {**os.environ, **variables}
        with subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, cwd=folder) as process:
            try:
                self._stack.until(lambda: process.poll() is not None, within=within, what=f"{name} has ended")
            finally:
                process.kill()  # does nothing where it has ended
        if process.returncode != 0:
            raise StackError(f"{name} has ended with status {process.returncode}", self._logs)

    def _node_modules(self, example: str) -> Path:
        """What an example needs, installed once for each package.json, outside the checkout."""
        manifest = HERE / example / "package.json"
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "contentgen"
        installed = cache / f"examples-{example}-{hashlib.sha256(manifest.read_bytes()).hexdigest()[:12]}"
        if not installed.exists():
            print(f"\ninstalling what examples/{example} needs into {installed}", flush=True)
            cache.mkdir(parents=True, exist_ok=True)
            self._install(manifest, installed)
        return installed / "node_modules"

    def _install(self, manifest: Path, installed: Path) -> None:
        """Into a folder of its own first: what was cut short, or done twice at once, is never taken for whole."""
        options = ["--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
        with tempfile.TemporaryDirectory(dir=installed.parent, ignore_cleanup_errors=True) as folder:
            shutil.copy(manifest, folder)
            self._program("npm install", ["npm", "install", "--prefix", folder, *options], {}, INSTALL_LIMIT)
            try:
                Path(folder).rename(installed)
            except OSError:
                if not installed.exists():  # another run, that was faster
                    raise


if __name__ == "__main__":
    sys.exit(status_of("the examples", run))
