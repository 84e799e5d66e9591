"""`contentgen-worker`: the entry point. It imports nothing that has gRPC: the guard starts before."""

from __future__ import annotations

from contentgen.service.launch import launch


def main() -> None:
    """Runs the worker. Exit status 78 where a module is missing, else see `main`."""
    launch("worker", "worker_svc.main")


if __name__ == "__main__":
    main()
