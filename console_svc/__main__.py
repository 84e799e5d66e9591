"""`contentgen-console`: the entry point."""

from __future__ import annotations

import os

from contentgen.service.launch import launch


def main() -> None:
    """Serves the console. Exit status 78 where a module is missing, else see `main`."""
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # before gRPC is imported: articles are worked on in processes
    launch("console", "console_svc.main")


if __name__ == "__main__":
    main()
