"""`python -m lab.benchmarks.dashboard_picture`: draws deploy/grafana's dashboard from what a running Prometheus holds.

Grafana itself is not needed: each panel's expressions are asked as Grafana asks them, and drawn where the dashboard has
the panel. It needs matplotlib, which nothing else here does but the plot of `lab.benchmarks.autoscaling`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode
from urllib.request import urlopen

from lab.benchmarks.kept import pyplot

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "contentgen.json"
COLUMNS, INCHES = 24, 16.0
"""Units of width that a dashboard has, and the width of the picture."""
MAX_LEGEND = 6
_UNITS: Mapping[str, tuple[float, str]] = {
    "s": (1.0, " s"),
    "bytes": (1 / 2**20, " MiB"),
    "Bps": (1 / 2**10, " KiB/s"),
    "percentunit": (100.0, " %"),
    "ops": (1.0, "/s"),
    "reqps": (1.0, "/s"),
    "none": (1.0, ""),
}
"""By the name that Grafana has for it: a factor, and the unit after it."""


class Line(NamedTuple):
    legend: str
    times: list[float]
    values: list[float]


def lines(prometheus: str, start: float, end: float, panel: Mapping[str, Any]) -> Iterator[Line]:
    """Yields the lines of a panel. Raises OSError if Prometheus does not answer, or refuses an expression."""
    step = max(1.0, (end - start) / 120)
    for target in panel["targets"]:
        # Four scrapes, as in Grafana, and no less than a minute.
        query = target["expr"].replace("$__rate_interval", "1m")
        parameters = urlencode({"query": query, "start": start, "end": end, "step": step})
        with urlopen(f"{prometheus.rstrip('/')}/api/v1/query_range?{parameters}", timeout=30.0) as answer:  # noqa: S310
            results = json.load(answer)["data"]["result"]
        for series in results:
            times, values = zip(*series["values"], strict=True)
            yield Line(_legend(target["legendFormat"], series["metric"]), [*times], [*map(float, values)])


def _legend(template: str, labels: Mapping[str, str]) -> str:
    for name, value in labels.items():
        template = template.replace(f"{{{{{name}}}}}", value)
    return template


def chosen(panels: Sequence[dict[str, Any]], rows: Sequence[str]) -> list[dict[str, Any]]:
    """Returns these rows' panels, moved up to where they follow each other. Raises SystemExit for an unknown row."""
    titles = [panel["title"] for panel in panels if panel["type"] == "row"]
    if unknown := sorted(set(rows) - set(titles)):
        raise SystemExit(f"--row {unknown[0]}: must be one of {', '.join(titles)}")
    visible: list[dict[str, Any]] = []
    is_shown, shift = False, 0
    for panel in panels:
        if panel["type"] == "row":
            is_shown = panel["title"] in (rows or titles)
            bottom = max((_bottom(other) for other in visible), default=0)
            shift = bottom - panel["gridPos"]["y"]
        if is_shown:
            visible.append({**panel, "gridPos": {**panel["gridPos"], "y": panel["gridPos"]["y"] + shift}})
    return visible


def _bottom(panel: Mapping[str, Any]) -> int:
    place: Mapping[str, int] = panel["gridPos"]
    return place["y"] + place["h"]


def draw(
    panels: Sequence[Mapping[str, Any]], lines_of: Callable[[Mapping[str, Any]], Iterator[Line]], path: Path
) -> None:
    """Writes the picture. Raises ModuleNotFoundError without matplotlib."""
    height = max(map(_bottom, panels))
    figure = pyplot().figure(figsize=(INCHES, height * 0.42))
    for panel in panels:
        x, y, w, h = (panel["gridPos"][key] for key in "xywh")
        if panel["type"] == "row":
            figure.text(0.005, 1 - (y + 0.7) / height, panel["title"], fontsize=13, fontweight="bold")
            continue
        margin_x, bottom, top = 1.0, 0.9, 0.9
        box = ((x + margin_x) / COLUMNS, 1 - (y + h - bottom) / height)
        axes = figure.add_axes((*box, (w - margin_x - 0.3) / COLUMNS, (h - bottom - top) / height))
        axes.set_title(panel["title"], fontsize=9, loc="left")
        drawn = list(lines_of(panel))
        factor, unit = _UNITS[panel["fieldConfig"]["defaults"].get("unit", "none")]
        if panel["type"] == "stat":
            value = drawn[0].values[-1] * factor if drawn else 0.0
            axes.axis("off")
            axes.text(0.5, 0.4, f"{value:,.0f}{unit}", fontsize=22, ha="center", va="center")
        else:
            _plot(axes, drawn, factor, unit)
    figure.savefig(path, dpi=80, metadata={"Software": None})


def _plot(axes: Any, lines: Sequence[Line], factor: float, unit: str) -> None:
    from matplotlib.ticker import MaxNLocator

    for line in lines:
        axes.plot(line.times, [value * factor for value in line.values], label=line.legend, linewidth=1)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=7)
    axes.xaxis.set_major_formatter(lambda seconds, _: time.strftime("%H:%M", time.gmtime(seconds)))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.4g}{unit}")
    if lines:
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles[:MAX_LEGEND], labels[:MAX_LEGEND], fontsize=6, loc="upper left")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.benchmarks.dashboard_picture", description=__doc__)
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", help="its address (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=10.0, help="how far back (default: %(default)s)")
    parser.add_argument(
        "--row", action="append", default=[], help="only this row of panels; may be given several times"
    )
    parser.add_argument("output", type=Path, help="the picture, such as docs/images/dashboard.png")
    arguments = parser.parse_args()
    end = time.time()
    panels = chosen(json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"], arguments.row)
    try:
        draw(panels, partial(lines, arguments.prometheus, end - 60 * arguments.minutes, end), arguments.output)
    except OSError as error:
        raise SystemExit(f"--prometheus {arguments.prometheus}: must be a Prometheus that answers ({error})") from None


if __name__ == "__main__":
    main()
