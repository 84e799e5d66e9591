"""A PostgreSQL on a port of loopback, started, stopped, followed by a standby and promoted as an operator does it."""

from __future__ import annotations

import atexit
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Self

import psutil
import sqlalchemy as sa

from scheduler_svc.postgres.folders import make_private
from scheduler_svc.postgres.programs import Launcher, find_bindir, runnable_bindir, server_user_for
from tests.harness.cluster import copy_cluster, server_folder
from tests.harness.credentials import make_certificates
from tests.harness.processes import children, freeze, thaw
from tests.harness.waiting import on_this_machine

USER = "contentgen"
_WITHIN = 60.0
_SETTINGS = {
    "fsync": "off",
    "contentgen.throwaway": "on",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "wal_keep_size": "64MB",
    "shared_buffers": "16MB",
    "max_connections": "60",
}


class TcpServer:
    """A server in `folder`, whose programs are in `bindir`. It keeps its port."""

    def __init__(self, folder: Path, port: int, bindir: Path | None = None, *, tls: bool = False) -> None:
        self.port = port
        self._folder = folder
        self._data = folder / "data"
        self._identity = server_user_for(self._data)
        self._programs = bindir or find_bindir()
        self._bindir = runnable_bindir(self._programs, self._identity, folder)
        self._settings = _SETTINGS | {"port": str(port)}
        if tls:
            self._settings |= self._certificate()

    @property
    def ca(self) -> Path:
        """The authority of its certificate."""
        return self._folder / "ca.pem"

    def create(self, *, anew: bool = False) -> Self:
        """Creates an empty cluster; connections need no password. Its system identifier is of its own if it is `anew`:
        else it is a copy of one that was created before.
        """
        make_private(self._data, self._identity)
        if anew:
            access = ("-U", USER, "-A", "trust")
            self._run("initdb", "-D", str(self._data), *access, "-E", "UTF8", "--no-locale", "--no-sync")
        else:
            copy_cluster(_created_by(self._programs), self._data)
        return self

    def follow(self, primary: TcpServer) -> Self:
        """Makes it a streaming standby of a running server."""
        source = f"host=127.0.0.1 port={primary.port} user={USER} application_name=standby"
        shutil.rmtree(self._data, ignore_errors=True)
        make_private(self._data, self._identity)
        self._run("pg_basebackup", "-D", str(self._data), "-d", source, "-R", "-X", "stream", "-c", "fast", "--no-sync")
        return self

    def start(self) -> Self:
        """Returns once it takes connections."""
        options = " ".join(f"-c {name}='{value}'" for name, value in self._settings.items())
        self._ctl("start", "-w", "-l", str(self._data / "server.log"), "-o", options)
        return self

    def stop(self, how: str = "fast") -> None:
        """Stops it if it runs; `immediate` is like a crash."""
        if (self._data / "postmaster.pid").exists():
            self._ctl("stop", "-w", "-m", how)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Within the block none of its processes runs; the kernel still takes connections, and what they send."""
        postmaster = int((self._data / "postmaster.pid").read_text().split()[0])
        processes = [psutil.Process(postmaster), *children(postmaster, recursive=True)]
        freeze(processes)
        try:
            yield
        finally:
            thaw(processes)

    def promote(self) -> None:
        """Makes a standby a primary, on a timeline of its own."""
        self._ctl("promote", "-w")

    def url(self, database: str = "postgres", **query: str) -> str:
        parameters = "&".join(f"{name}={value}" for name, value in query.items())
        return f"postgresql+psycopg2://{USER}@127.0.0.1:{self.port}/{database}" + (parameters and f"?{parameters}")

    def sql(self, statement: str, database: str = "postgres", **query: str) -> list[tuple[object, ...]]:
        """Returns the rows of a statement, which is committed."""
        engine = sa.create_engine(self.url(database, **query), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            result = connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
            return [tuple(row) for row in result] if result.returns_rows else []

    def _certificate(self) -> Mapping[str, str]:
        make_certificates(self._folder)
        key = self._folder / "server.key"
        key.chmod(0o600)
        if os.geteuid() == 0:
            os.chown(key, self._identity.uid, self._identity.gid)
        return {"ssl": "on", "ssl_cert_file": str(self._folder / "server.pem"), "ssl_key_file": str(key)}

    def _ctl(self, command: str, *arguments: str) -> None:
        self._run("pg_ctl", command, "-D", str(self._data), "-t", str(int(on_this_machine(_WITHIN))), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        log = self._folder / f"{program}.log"
        with log.open("ab") as output, closing(Launcher(self._identity)) as launcher:
            process = launcher.spawn([str(self._bindir / program), *arguments], output)
            status = process.wait(2 * on_this_machine(_WITHIN))
        assert status == 0, f"{program}:\n{log.read_text()}"


@cache
def _created_by(programs: Path) -> Path:
    """Returns an empty cluster that these programs have created, until this process ends."""
    kept = ExitStack()
    atexit.register(kept.close)
    return TcpServer(kept.enter_context(server_folder()), 0, programs).create(anew=True)._data


@contextmanager
def running(port: int, bindir: Path | None = None, *, tls: bool = False, anew: bool = False) -> Iterator[TcpServer]:
    """Yields a server of the test's own; it is stopped at the end."""
    with server_folder() as folder:
        server = TcpServer(folder, port, bindir, tls=tls).create(anew=anew)
        try:
            yield server.start()
        finally:
            server.stop("immediate")
