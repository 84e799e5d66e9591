"""Faults of workers, their guards, machines and disks, of schedulers, and of the network."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import psutil

from lab.chaos import evidence
from lab.chaos.evidence import DISK_FULL, FREEZE, KILL
from lab.chaos.fleet import Fleet
from lab.chaos.journals import Appender
from lab.chaos.plan import Fault
from lab.deployment.database import Database
from lab.deployment.deployment import Node
from tests.harness.processes import belonging_to, freeze, living, signal_all, thaw
from tests.harness.waiting import wait_until, wait_until_gone
from tests.harness.wires import Trouble

_EXIT_LIMIT = 30.0
"""Seconds in which a service has to end that was told to, or a worker without its guard, on a busy machine."""
_WORKER_DELAY, _STORE_DELAY = 0.3, 0.1


class MissedError(Exception):
    """The victim is not there to be hurt: it has not come back from something else."""


@dataclass(frozen=True, slots=True)
class Scene:
    fleet: Fleet
    journal: Appender

    @property
    def database(self) -> Database:
        return self.fleet.database

    def node(self, fault: Fault) -> Node:
        """Returns the victim, which runs. Raises MissedError."""
        node = self.fleet.nodes[fault.victim]
        if not node.alive:
            raise MissedError
        return node

    def note(self, fault: Fault, does: str, *victims: str, tables: str = "", **more: object) -> None:
        """Journals that `does` is being done to each of `victims`, or to the fault's victim, as part of `fault`."""
        for victim in victims or (fault.victim,):
            now, boottime = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
            record = evidence.Fault(does, victim, now, boottime, fault.duration, fault.kind, fault.at, tables)
            self.journal.append(record, **more)


Strike = Callable[[Scene, Fault], Iterator[None]]
"""Hurts, yields, and undoes it. Raises MissedError."""


def _kill(scene: Scene, fault: Fault) -> Iterator[None]:
    """The guard of a worker lives on, ends its CLIs, and goes."""
    node = scene.node(fault)
    scene.note(fault, KILL)
    node.kill()
    yield
    node.launch()


def _stop_worker(scene: Scene, fault: Fault) -> Iterator[None]:
    """A second TERM does not wait for what runs."""
    node = _told_to_end(scene, fault)
    yield
    node.end()
    _ended_well(node)
    node.launch()


def _stop_scheduler(scene: Scene, fault: Fault) -> Iterator[None]:
    node = _told_to_end(scene, fault)
    _ended_well(node)
    yield
    node.launch()


def _told_to_end(scene: Scene, fault: Fault) -> Node:
    """Returns the victim, once it has come up: before that TERM ends it as it ends any process. Raises MissedError."""
    node = scene.node(fault)
    if not node.served:
        raise MissedError
    scene.note(fault, "stop")
    node.end()
    return node


def _ended_well(node: Node) -> None:
    """Raises AssertionError where it did not end as it should; then it is killed."""
    try:
        wait_until(lambda: not node.alive, within=_EXIT_LIMIT, what=f"{node.name} ends after TERM")
    finally:
        node.kill()
    status = node.service.exit_status
    assert status == 0, f"{node.name} ended with status {status} after TERM"


def _kill_guard(scene: Scene, fault: Fault) -> Iterator[None]:
    node, guard = _guarded(scene, fault)
    scene.note(fault, KILL, f"{fault.victim}/guard")
    signal_all([guard], signal.SIGKILL)
    _await_end_without_guard(node)
    yield
    node.launch()


def _await_end_without_guard(node: Node) -> None:
    wait_until(lambda: not node.alive, within=_EXIT_LIMIT, what=f"{node.name} ends without its guard")


def _kill_machine(scene: Scene, fault: Fault) -> Iterator[None]:
    node = scene.node(fault)
    processes = _of_machine(scene, fault)
    scene.note(fault, KILL, fault.victim, f"{fault.victim}/guard")
    kill_as_one(processes, lambda: _of_machine(scene, fault))
    node.kill()
    yield
    node.launch()


def _of_machine(scene: Scene, fault: Fault) -> list[psutil.Process]:
    """Returns all of a worker's: itself, the guard, CLIs, whatever they have left."""
    return belonging_to(scene.fleet.folder / fault.victim)


def kill_as_one(processes: Collection[psutil.Process], look_again: Callable[[], Collection[psutil.Process]]) -> None:
    """Sends KILL to all. They stop first: where the power goes, nobody sees another one die."""
    while processes:
        freeze(processes)
        signal_all(processes, signal.SIGKILL)
        processes = look_again()


def _freeze(scene: Scene, fault: Fault) -> Iterator[None]:
    node = scene.node(fault)
    scene.note(fault, FREEZE)
    node.freeze()
    yield
    node.thaw()


def _freeze_guard(scene: Scene, fault: Fault) -> Iterator[None]:
    """Where a run's deadline passes meanwhile, the worker gives its guard up, and ends by itself."""
    node, guard = _guarded(scene, fault)
    scene.note(fault, FREEZE, f"{fault.victim}/guard")
    freeze([guard])
    yield
    thaw([guard])
    with suppress(AssertionError):
        # It may just have been a moment too late.
        wait_until_gone(lambda: living([guard]), within=1.5, what="its worker has killed it")
    if not living([guard]):
        _await_end_without_guard(node)
        node.launch()


def _freeze_machine(scene: Scene, fault: Fault) -> Iterator[None]:
    """The guard wakes up first, as on a machine with more than one core: it decides what still may run."""
    _, guard = _guarded(scene, fault)
    scene.note(fault, FREEZE, fault.victim, f"{fault.victim}/guard")
    freeze_as_one(lambda: _of_machine(scene, fault))
    yield
    thaw([guard])
    time.sleep(0.1)  # the guard wakes first
    thaw(_of_machine(scene, fault))


def freeze_as_one(look: Callable[[], Collection[psutil.Process]]) -> None:
    """Sends SIGSTOP to all, and to what they have started until it reached them."""
    while processes := [process for process in look() if _goes_on(process)]:
        freeze(processes)


def _goes_on(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


def _guarded(scene: Scene, fault: Fault) -> tuple[Node, psutil.Process]:
    """Returns the victim and its guard, which run. Raises MissedError."""
    node = scene.node(fault)
    guard = node.guard()
    if guard is None:
        raise MissedError
    return node, guard


def _jump_clock(scene: Scene, fault: Fault) -> Iterator[None]:
    """Jumps forth or back: by what is only said, what ends its service, and what makes ids of another day."""
    scene.node(fault)
    clock = scene.fleet.clocks[fault.victim]
    seconds = (7, 40, 7_200, 259_200)[fault.salt % 4] * (1 if fault.salt % 8 < 4 else -1)
    scene.note(fault, "clock_jump", seconds=seconds)
    clock.set(seconds)
    yield
    clock.set(0)


def _fill_disk(scene: Scene, fault: Fault) -> Iterator[None]:
    """Its worker may be alive or on its way up."""
    disk = scene.fleet.nodes[fault.victim].disk
    assert disk is not None, "the plan has such faults only where there are disks"
    scene.note(fault, DISK_FULL)
    disk.fill()
    yield
    disk.empty()


def _wire(end: str, trouble: Trouble, delay: float = 0.0) -> Strike:
    """Makes a trouble on all wires between a victim and one of its sides."""

    def strike(scene: Scene, fault: Fault) -> Iterator[None]:
        names = f"{fault.victim}/" if end == "worker" else f"{end}/{fault.victim}"
        scene.note(fault, trouble.value, names)
        scene.fleet.wires.hurt(names, trouble, delay)
        yield
        scene.fleet.wires.mend(names)

    return strike


STRIKES: Mapping[str, Strike] = {
    "worker-kill": _kill,
    "worker-stop": _stop_worker,
    "worker-loss": _kill,
    "guard-kill": _kill_guard,
    "machine-kill": _kill_machine,
    "worker-freeze": _freeze,
    "guard-freeze": _freeze_guard,
    "machine-freeze": _freeze_machine,
    "scheduler-kill": _kill,
    "scheduler-stop": _stop_scheduler,
    "scheduler-freeze": _freeze,
    "scheduler-stall": _freeze,
    "clock-jump": _jump_clock,
    "worker-disk-full": _fill_disk,
    "worker-cut": _wire("worker", Trouble.CUT),
    "worker-hole": _wire("worker", Trouble.HOLE),
    "worker-deaf": _wire("worker", Trouble.DEAF),
    "worker-slow": _wire("worker", Trouble.SLOW, _WORKER_DELAY),
    "client-cut": _wire("client", Trouble.CUT),
    "client-hole": _wire("client", Trouble.HOLE),
    "store-cut": _wire("store", Trouble.CUT),
    "store-hole": _wire("store", Trouble.HOLE),
    "store-slow": _wire("store", Trouble.SLOW, _STORE_DELAY),
}
