"""How a cluster looks while it runs: a live picture on a terminal, 80 by 24 at least; without one, plain lines."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from contentgen.stack.show import console
from lab.cluster.audit import LiveAudit
from lab.cluster.cluster import Cluster
from lab.cluster.load import Load
from lab.cluster.readings import Reading
from lab.deployment.deployment import Node

_STYLES = {"up": "green", "down": "bold red", "frozen": "bold cyan", "ends": "yellow", "starts": "yellow"}
_ALERT_ROWS, _MAX_LINES = 4, 50
_KEYS = (
    "kill: s scheduler w worker d database b balancer   freeze: S W D   t drain",
    "c connections  f F fill disk  r roll  u undo  +/- 0 workers  </> load  q end",
)


class Picture:
    """Shows a cluster, entered, until it is left: a line for each event, and one about the whole now and then."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._began = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, text: str) -> None:
        self._tell(f"{time.monotonic() - self._began:6.1f} s  {text}")

    def show(self, cluster: Cluster, load: Load, live: LiveAudit) -> None:
        now = time.monotonic()
        if now >= self._last_line + 10.0:
            self._last_line = now
            self.say(totals(load, live).plain)

    def _tell(self, line: str) -> None:
        self._out.print(line, soft_wrap=True)


def picture() -> Picture:
    terminal = console()
    return LivePicture(terminal) if terminal.is_terminal else Picture(terminal)


class LivePicture(Picture):
    """All of it at once, on a screen of its own."""

    def __init__(self, out: Console) -> None:
        super().__init__(out)
        self._lines: deque[Text] = deque(maxlen=_MAX_LINES)
        self._is_up = False
        self._live = Live(console=out, screen=True, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def _tell(self, line: str) -> None:
        self._lines.append(Text(line, "dim"))
        if not self._is_up:
            self._live.update(Group(*self._lines), refresh=True)

    def show(self, cluster: Cluster, load: Load, live: LiveAudit) -> None:
        self._is_up = True
        header = [*head(cluster, load, live), *alerts(cluster.readings.last)]
        footer = [Text(line, "reverse") for line in _KEYS]
        height = max(self._out.height - len(header) - len(footer) - 3, 1)
        lines = [*header[:1], *rows(cluster, height), *header[1:]]
        space = self._out.height - len(lines) - len(footer)
        lines += [Text(), *list(self._lines)[-(space - 1) :]] if space > 1 else []
        lines += [Text()] * (self._out.height - len(lines) - len(footer))
        lines = [*lines[: self._out.height - len(footer)], *footer]
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        self._live.update(Group(*lines), refresh=True)


def head(cluster: Cluster, load: Load, live: LiveAudit) -> Iterator[Text]:
    link = f"  Prometheus :{cluster.prometheus_port}" if cluster.prometheus_port else ""
    yield Text(f"contentgen cluster  {cluster.target}  {load.rate:g} tasks/s{link}", "reverse")
    reading = cluster.readings.last
    done = sum(reading.rates.get(node.name, 0.0) for node in cluster.schedulers)
    yield Text.assemble(
        ("queue   ", "bold"),
        f"{reading.largest('contentgen_queue_tasks'):.0f} wait,"
        f" the oldest {reading.largest('contentgen_queue_oldest_seconds'):.0f} s;"
        f" {reading.largest('contentgen_leases'):.0f} leased, {reading.largest('running'):.0f} run; {done:.1f}/s done",
    )
    yield totals(load, live)


def totals(load: Load, live: LiveAudit) -> Text:
    """Returns what the clients know, and what the database says of it."""
    doubled = max(live.twice, sum(count > 1 for count in load.completed.values()))
    problems = f", wrong {len(load.wrong)}" if load.wrong else ""
    return Text.assemble(
        f"submitted {load.submitted}, acknowledged {load.acknowledged}, completed {len(load.completed)}; ",
        (
            f"lost {live.lost}, twice {doubled}{problems}",
            "bold red" if live.lost or doubled or problems else "bold green",
        ),
    )


def alerts(reading: Reading) -> Iterator[Text]:
    """Yields those that fire or are about to, with their runbooks."""
    if reading.alerts is None:
        yield Text("alerts  no Prometheus answers", "yellow")
        return
    if not reading.alerts:
        yield Text("alerts  none", "green")
    by_name: dict[tuple[bool, str], list[str]] = {}
    for alert in reading.alerts:
        by_name.setdefault((alert.fires, alert.runbook), []).append(alert.instance or "all")
    for (fires, runbook), instances in [*by_name.items()][:_ALERT_ROWS]:
        others = f" +{len(instances) - 1}" if len(instances) > 1 else ""
        state, style = ("FIRES", "bold red") if fires else ("soon", "yellow")
        yield Text(f"{state:<6}{instances[0] + others:<15} {runbook}", style)
    if len(by_name) > _ALERT_ROWS:
        yield Text(f"… and {len(by_name) - _ALERT_ROWS} more", "dim")


def rows(cluster: Cluster, height: int) -> Iterator[Text]:
    reading = cluster.readings.last
    nodes = list(cluster.nodes.values())
    visible = nodes if len(nodes) <= height else nodes[: height - 1]
    for node in visible:
        state = node.state
        yield Text.assemble(
            f"{node.name:<13}", (f"{state:<7}", _STYLES[state]), f"{node.pid or '-':>8}  ", _figures(node, reading)
        )
    if len(visible) < len(nodes):
        yield Text(f"… and {len(nodes) - len(visible)} more", "dim")


def _figures(node: Node, reading: Reading) -> Text:
    samples = reading.samples.get(node.name)
    if node.probes is None:
        return Text()
    if samples is None:
        return Text("does not answer", "yellow")
    rate = f"{reading.rates.get(node.name, 0.0):5.1f}/s"
    if node.kind == "scheduler":
        sign = _sign(samples.get("contentgen_serving") == 1, "serves", "does not serve")
        text = f"  {rate}  workers {samples.get('contentgen_lease_streams', 0):.0f}  "
        text += f"transactions {samples.get('contentgen_pool_connections_in_use', 0):.0f}"
        return Text.assemble(sign, text)
    if samples.get("contentgen_worker_disk_writable") == 0:
        sign = _sign(False, "", "disk full")
    else:
        sign = _sign(samples.get("contentgen_worker_connected") == 1, "session", "no session")
    in_use, slots = samples.get("contentgen_worker_slots_in_use", 0), samples.get("contentgen_worker_slots", 0)
    spooled = samples.get("contentgen_worker_spooled_results", 0)
    return Text.assemble(sign, f"  {rate}  slots {in_use:.0f}/{slots:.0f}  spooled {spooled:.0f}")


def _sign(is_good: bool, if_good: str, otherwise: str) -> Text:
    text = if_good if is_good else otherwise
    return Text(f"{text:<14}", "green" if is_good else "bold red")
