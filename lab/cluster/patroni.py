"""Three machines with PostgreSQL, Patroni and etcd, by the files of deploy/patroni.

A machine is a network namespace with an address on a bridge. The bridge is in the network namespace of this process
(`enter_network`), so that nothing is seen outside, and nothing is left when the last process has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg2
import yaml

from lab.deployment.deployment import unshare
from scheduler_svc.postgres.programs import find_bindir, runnable_bindir, server_user_for
from tests.harness.cluster import rows_of
from tests.harness.process import Process, found_program, inherited
from tests.harness.processes import freeze, process_of, signal_all, thaw
from tests.harness.scrape import get
from tests.harness.waiting import wait_until

HAPROXY = Path(__file__).parents[2] / "deploy" / "patroni" / "haproxy.cfg"
_NETWORK = "10.0.0"
_COUNT = 3
_START_LIMIT = 60.0
_PORT, _API = 5432, 8008
_ETCD_CLIENTS, _ETCD_PEERS = 2379, 2380
_NEEDED = ("ip", "nsenter", "unshare", "setpriv", "etcd", "patroni", "patronictl")


def enter_network() -> str | None:
    """Gives this process a network of its own, to be called before there is a second thread; or returns why not."""
    missing = [name for name in _NEEDED if found_program(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: apt install patroni python3-etcd etcd-server iproute2)"
    try:
        unshare(0x40000000)  # CLONE_NEWNET
    except OSError as error:
        return f"--patroni takes root's rights: {error.strerror}"
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", "bridge", "type", "bridge")
    _run("ip", "addr", "add", f"{_NETWORK}.254/24", "dev", "bridge")
    _run("ip", "link", "set", "bridge", "up")
    return None


class Machine(Process):
    """Patroni, and whatever else runs beside it: what is done to it is done to all of them."""

    def __init__(self, folder: Path, number: int) -> None:
        self.address = f"{_NETWORK}.{number}"
        self._folder = folder / f"database-{number}"
        self._folder.mkdir(mode=0o711)
        self._user = server_user_for(self._folder / "data")
        self._bindir = runnable_bindir(find_bindir(), self._user, folder)
        self._cable = f"cable-{number}"
        # It holds the namespace, and is the only process in it that nothing hurts.
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], cwd=self._folder)
        self._connect()
        environment = inherited() | {"LC_ALL": "C"}
        etcd = self._inside("etcd", *self._etcd(self._folder.name))
        self._etcd_process = Process("etcd", etcd, self._folder / "etcd.log", environment)
        command = self._inside("patroni", str(self._settings(self._folder.name)))
        super().__init__(self._folder.name, command, self._folder / "patroni.log", environment)

    @property
    def alive(self) -> bool:
        return super().alive and self._etcd_process.alive

    def launch(self, **changed: str) -> Self:
        """Starts what does not run."""
        if not self._etcd_process.alive:
            self._etcd_process.launch()
        return self if super().alive else super().launch(**changed)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        for process in (self, self._etcd_process):
            process.popen.wait(10.0)

    def freeze(self) -> None:
        freeze(self.processes())

    def thaw(self) -> None:
        thaw(self.processes())

    def cut(self) -> None:
        """Pulls its cable: no packet comes or goes."""
        _run("ip", "link", "set", self._cable, "down")

    def join(self) -> None:
        _run("ip", "link", "set", self._cable, "up")

    def signal(self, number: signal.Signals) -> None:
        signal_all(self.processes(), number)

    def processes(self) -> list[psutil.Process]:
        namespace = _network_of(self._holder.pid)
        pids = [pid for pid in psutil.pids() if pid != self._holder.pid and _network_of(pid) == namespace]
        return [process for pid in pids if (process := process_of(pid))]

    def state(self) -> Any:
        """Returns what its Patroni says of its server. Raises OSError, ValueError."""
        return json.loads(get(_API, "/", patience=1.0, host=self.address)[1])

    def end(self) -> None:
        """Ends all of it."""
        with contextlib.suppress(FileNotFoundError):
            self.signal(signal.SIGKILL)
        self._holder.kill()
        self._holder.wait()

    def patronictl(self, *arguments: str) -> None:
        """Raises CalledProcessError."""
        _run(*self._inside("patronictl", "-c", str(self._folder / "patroni.yaml"), *arguments))

    def _connect(self) -> None:
        inside = ("nsenter", "--net", "--target", str(self._holder.pid), "ip")
        own = Path("/proc/self/ns/net").stat().st_ino
        wait_until(lambda: _network_of(self._holder.pid) not in {None, own}, within=5.0, what="it has a network")
        _run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", str(self._holder.pid))
        _run("ip", "link", "set", self._cable, "master", "bridge", "up")
        for arguments in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"{self.address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
        ):
            _run(*inside, *arguments)

    def _inside(self, name: str, *arguments: str) -> Sequence[str]:
        program = found_program(name)
        assert program is not None
        user = (f"--reuid={self._user.uid}", f"--regid={self._user.gid}", "--clear-groups")
        return ("nsenter", "--net", "--target", str(self._holder.pid), "setpriv", *user, program, *arguments)

    def _etcd(self, name: str) -> Iterator[str]:
        data = self._folder / "etcd"
        self._make(data)
        peers = [f"database-{number}=http://{_NETWORK}.{number}:{_ETCD_PEERS}" for number in range(1, _COUNT + 1)]
        yield f"--name={name}"
        yield f"--data-dir={data}"
        yield f"--initial-cluster={','.join(peers)}"
        for kind, port in (("client", _ETCD_CLIENTS), ("peer", _ETCD_PEERS)):
            yield f"--listen-{kind}-urls=http://{self.address}:{port}"
        yield f"--advertise-client-urls=http://{self.address}:{_ETCD_CLIENTS}"
        yield f"--initial-advertise-peer-urls=http://{self.address}:{_ETCD_PEERS}"
        yield "--logger=zap"
        yield "--log-level=warn"

    def _settings(self, name: str) -> Path:
        """Writes those of deploy/patroni, but for what is of this machine."""
        text = HAPROXY.with_name("patroni.yaml").read_text(encoding="utf-8")
        settings = yaml.safe_load(text.replace("NAME", name).replace("ADDRESS", self.address))
        data = self._folder / "data"
        self._make(data)
        settings["postgresql"] |= {
            "data_dir": str(data),
            "bin_dir": str(self._bindir),
            "pgpass": str(data.with_name("etcd") / "pgpass"),
            "parameters": {"unix_socket_directories": ""},
            "pg_hba": [f"host {databases} all {_NETWORK}.0/24 trust" for databases in ("all", "replication")],
        }
        settings["watchdog"]["mode"] = "off"
        path = self._folder / "patroni.yaml"
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return path

    def _make(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        os.chown(folder, self._user.uid, self._user.gid)


class Machines:
    """Stands where a `Database` stands: what is asked of it is asked of the machine that leads."""

    def __init__(self, folder: Path, exits: ExitStack, *, one_address: bool) -> None:
        """`one_address`: schedulers reach them through HAProxy."""
        self.one_address = one_address
        self.all: list[Machine] = []
        for number in range(1, _COUNT + 1):
            self.all.append(Machine(folder, number))
            exits.callback(self.all[-1].end)

    @property
    def url(self) -> str:
        """As schedulers have it."""
        if self.one_address:
            return f"postgresql://contentgen@127.0.0.1:{_PORT}/contentgen"
        return self._leading("contentgen", "contentgen")

    @property
    def dsn(self) -> str:
        return f"{self._leading('contentgen', 'contentgen')}&connect_timeout=3"

    def start(self) -> None:
        """Returns once one leads and two follow, with an empty database of contentgen."""
        for machine in self.all:
            machine.launch()
        wait_until(self.whole, within=_START_LIMIT, what="Patroni has a leader and two standbys")
        for statement in ("CREATE ROLE contentgen LOGIN", "CREATE DATABASE contentgen OWNER contentgen"):
            self._execute(statement)

    def leader(self) -> str | None:
        """Returns the name of the machine that leads; None: none does.

        One that was cut off or frozen may believe that it still does: the latest timeline is right.
        """
        states = self._states()
        leaders = {state.get("timeline", 0): name for name, state in states.items() if state.get("role") == "primary"}
        return leaders[max(leaders)] if leaders else None

    def whole(self) -> bool:
        """Returns whether one leads and the others follow it, one of them synchronously."""
        states = self._states().values()
        standbys = [state for state in states if state.get("replication_state") == "streaming"]
        return (
            len(states) == _COUNT
            and len({state.get("timeline") for state in states}) == 1
            and [state.get("role") for state in states].count("primary") == 1
            and len(standbys) == _COUNT - 1
            and any(state.get("sync_standby") for state in standbys)
        )

    def rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Returns those of a statement in a session of its own. Raises psycopg2.Error."""
        with contextlib.closing(psycopg2.connect(self.dsn, application_name="lab")) as connection:
            return rows_of(connection, statement, *parameters)

    def demote(self) -> None:
        """Hands over from the leader to a standby. Raises CalledProcessError."""
        self.all[0].patronictl("switchover", "contentgen", "--force")

    def _leading(self, user: str, database: str) -> str:
        hosts = ",".join(f"{machine.address}:{_PORT}" for machine in self.all)
        return f"postgresql://{user}@{hosts}/{database}?target_session_attrs=read-write"

    def _execute(self, statement: str) -> None:
        with contextlib.closing(psycopg2.connect(self._leading("postgres", "postgres"))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)

    def _states(self) -> dict[str, Any]:
        """Returns what each Patroni that answers says of its own server, by name."""
        states = {}
        for machine in self.all:
            with contextlib.suppress(OSError, ValueError):
                states[machine.name] = machine.state()
        return states


def _network_of(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    return None


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
