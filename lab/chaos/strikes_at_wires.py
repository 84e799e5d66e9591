"""Faults of the network, and of a worker's disk. Above `scene`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lab.chaos.evidence import DISK_FULL
from lab.chaos.plan import Fault
from lab.chaos.scene import Scene, Strike
from tests.harness.wires import Trouble

_WORKER_DELAY, _STORE_DELAY = 0.3, 0.1


def _wire(end: str, trouble: Trouble, delay: float = 0.0) -> Strike:
    """A trouble on all wires between a victim and one of its sides."""

    @contextmanager
    def strike(scene: Scene, fault: Fault) -> Iterator[None]:
        wires = scene.fleet.wires
        names = f"{fault.victim}/" if end == "worker" else f"{end}/{fault.victim}"
        scene.note(fault, trouble.value, names)
        wires.hurt(names, trouble, delay)
        yield
        wires.mend(names)

    return strike


@contextmanager
def _disk_full(scene: Scene, fault: Fault) -> Iterator[None]:
    """Its worker may be alive or on its way up."""
    disk = scene.fleet.members[fault.victim].disk
    assert disk is not None, "the plan has such faults only where there are disks"
    scene.note(fault, DISK_FULL, fault.victim)
    disk.fill()
    yield
    disk.empty()


STRIKES: Mapping[str, Strike] = {
    "worker-disk-full": _disk_full,
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
