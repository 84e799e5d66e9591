"""Faults of workers, their guards and machines, and of schedulers. Above `scene`."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress

import psutil

from lab.chaos.database import signal_all
from lab.chaos.evidence import FREEZE, KILL
from lab.chaos.fleet import Member
from lab.chaos.plan import Fault
from lab.chaos.scene import MissedError, Scene, Strike
from tests.harness.processes import living
from tests.harness.waiting import wait_until, wait_until_gone

_EXIT_LIMIT = 30.0
"""Seconds in which a service has to end that was told to, or a worker without its guard, on a busy machine."""
_GUARD_WAKES_FIRST = 0.1
_GIVEN_UP_TIMEOUT = 1.5
"""Seconds after a guard's thaw in which its worker may still kill it: it may just have been a moment too late."""


@contextmanager
def _service_kill(scene: Scene, fault: Fault) -> Iterator[None]:
    """The guard of a worker lives on, ends its CLIs, and goes."""
    member = scene.member(fault)
    scene.note(fault, KILL, fault.victim)
    member.service.kill()
    yield
    member.launch()


@contextmanager
def _worker_stop(scene: Scene, fault: Fault) -> Iterator[None]:
    """A second TERM does not wait for what runs."""
    member = _serving(scene, fault)
    scene.note(fault, "stop", fault.victim)
    member.service.signal(signal.SIGTERM)
    yield
    member.service.signal(signal.SIGTERM)
    _ended_well(member)
    member.launch()


@contextmanager
def _scheduler_stop(scene: Scene, fault: Fault) -> Iterator[None]:
    member = _serving(scene, fault)
    scene.note(fault, "stop", fault.victim)
    member.service.signal(signal.SIGTERM)
    _ended_well(member)
    yield
    member.launch()


def _serving(scene: Scene, fault: Fault) -> Member:
    """Returns the victim, once it has come up: before that TERM ends it as it ends any process. Raises MissedError."""
    member = scene.member(fault)
    if not member.service.served:
        raise MissedError
    return member


def _ended_well(member: Member) -> None:
    """Raises AssertionError where it did not end as it should; then it is killed."""
    service = member.service
    try:
        wait_until(lambda: not service.alive, within=_EXIT_LIMIT, what=f"{service.name} ends after TERM")
    finally:
        service.kill()
    assert service.exit_status == 0, f"{service.name} ended with status {service.exit_status} after TERM"


@contextmanager
def _guard_kill(scene: Scene, fault: Fault) -> Iterator[None]:
    member = scene.member(fault)
    guard = _guard(member)
    scene.note(fault, KILL, f"{fault.victim}/guard")
    signal_all([guard], signal.SIGKILL)
    wait_until(lambda: not member.service.alive, within=_EXIT_LIMIT, what=f"{fault.victim} ends without its guard")
    yield
    member.launch()


@contextmanager
def _machine_kill(scene: Scene, fault: Fault) -> Iterator[None]:
    member = scene.member(fault)
    processes = member.processes()
    scene.note(fault, KILL, fault.victim, f"{fault.victim}/guard")
    kill_as_one(processes, member.processes)
    member.service.kill()
    yield
    member.launch()


def kill_as_one(processes: Collection[psutil.Process], look_again: Callable[[], Collection[psutil.Process]]) -> None:
    """Kill -9 to all of them. They stop first: where the power goes, nobody sees another one die."""
    while processes:
        signal_all(processes, signal.SIGSTOP)
        signal_all(processes, signal.SIGKILL)
        processes = look_again()


@contextmanager
def _service_freeze(scene: Scene, fault: Fault) -> Iterator[None]:
    member = scene.member(fault)
    scene.note(fault, FREEZE, fault.victim)
    member.service.freeze()
    yield
    member.service.thaw()


@contextmanager
def _guard_freeze(scene: Scene, fault: Fault) -> Iterator[None]:
    """Where a run's deadline passes meanwhile, the worker gives its guard up, and ends by itself."""
    member = scene.member(fault)
    guard = _guard(member)
    scene.note(fault, FREEZE, f"{fault.victim}/guard")
    signal_all([guard], signal.SIGSTOP)
    yield
    signal_all([guard], signal.SIGCONT)
    if _is_given_up(guard):
        wait_until(lambda: not member.service.alive, within=_EXIT_LIMIT, what=f"{fault.victim} ends without its guard")
        member.launch()


def _is_given_up(guard: psutil.Process) -> bool:
    with suppress(AssertionError):
        wait_until_gone(lambda: living([guard]), within=_GIVEN_UP_TIMEOUT, what="its worker has killed it")
        return True
    return False


@contextmanager
def _machine_freeze(scene: Scene, fault: Fault) -> Iterator[None]:
    """The guard wakes up first, as on a machine with more than one core: it decides what still may run."""
    member = scene.member(fault)
    guard = _guard(member)
    scene.note(fault, FREEZE, fault.victim, f"{fault.victim}/guard")
    freeze_as_one(member.processes)
    yield
    signal_all([guard], signal.SIGCONT)
    time.sleep(_GUARD_WAKES_FIRST)
    signal_all(member.processes(), signal.SIGCONT)


def freeze_as_one(look: Callable[[], Collection[psutil.Process]]) -> None:
    """SIGSTOP to all, and to what they have started until it reached them."""
    while processes := [process for process in look() if _goes_on(process)]:
        signal_all(processes, signal.SIGSTOP)


def _goes_on(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


def _guard(member: Member) -> psutil.Process:
    guard = member.guard()
    if guard is None:
        raise MissedError
    return guard


@contextmanager
def _clock_jump(scene: Scene, fault: Fault) -> Iterator[None]:
    """Forth or back: by what is only said, what ends its service, and what makes ids of another day."""
    member = scene.member(fault)
    assert member.clock is not None, "schedulers have one"
    seconds = (7, 40, 7_200, 259_200)[fault.salt % 4] * (1 if fault.salt % 8 < 4 else -1)
    scene.note(fault, "clock_jump", fault.victim, seconds=seconds)
    member.clock.set(seconds)
    yield
    member.clock.set(0)


STRIKES: Mapping[str, Strike] = {
    "worker-kill": _service_kill,
    "worker-stop": _worker_stop,
    "worker-loss": _service_kill,
    "guard-kill": _guard_kill,
    "machine-kill": _machine_kill,
    "worker-freeze": _service_freeze,
    "guard-freeze": _guard_freeze,
    "machine-freeze": _machine_freeze,
    "scheduler-kill": _service_kill,
    "scheduler-stop": _scheduler_stop,
    "scheduler-freeze": _service_freeze,
    "scheduler-stall": _service_freeze,
    "clock-jump": _clock_jump,
}
