"""The figures of a campaign for people: the table of docs/reliability.md. Above `figures`."""

from __future__ import annotations

from collections.abc import Iterator

from lab.chaos.figures import KILLS, Figures, Spread
from lab.chaos.plan import KINDS, LEASE, Kind

BEGIN, END = "<!-- figures of a run, by --publish -->", "<!-- end of the figures -->"
"""Between what a document has them."""


def table(figures: Figures) -> str:
    """Markdown, to be put into the docs as it is."""
    rows = [("figure", "value"), ("---", "---"), *_rows(figures)]
    return "\n".join(f"| {name} | {value} |" for name, value in rows)


def _rows(figures: Figures) -> Iterator[tuple[str, str]]:
    kills = ", ".join(f"{figures.faults[kind]:,} {kind}" for kind in KILLS if figures.faults.get(kind))
    other_kinds = [kind.name for kind in KINDS if kind.name not in KILLS and figures.faults.get(kind.name)]
    yield "kills survived", f"**{figures.kills:,}**: {kills}"
    yield "other faults", ", ".join(f"{figures.faults[kind]:,} {kind}" for kind in other_kinds)
    yield "acknowledged tasks", _counted(figures)
    yield "lost", f"**{figures.lost}**"
    yield "twice", f"**{figures.twice}**"
    yield "runs of the CLI", f"{figures.runs:,}"
    yield "runs of a task side by side", f"{figures.beside}"
    yield (
        "duplicate runs per 10,000 kills",
        f"**{figures.duplicates_per_10_000_kills:g}** ({figures.duplicates:,} in all)",
    )
    yield "files that contents name", f"{figures.files:,}"
    yield "ticks of schedules", f"{figures.ticks:,}"
    yield "events of the webhook", f"{figures.events:,}, in {figures.deliveries:,} deliveries"
    yield "a worker's kill → its task runs again", _spread(figures.again)
    yield f"… where the worker stayed away for longer than a lease ({LEASE:g} s)", _spread(figures.elsewhere)
    yield "… and no scheduler and no PostgreSQL was hurt meanwhile", _spread(figures.elsewhere_undisturbed)
    yield "a scheduler's kill → the next acknowledged submit", _spread(figures.scheduler_submit)
    yield "PostgreSQL's kill → the next acknowledged submit", _spread(figures.database_submit)
    yield "PostgreSQL's kill → the next completed task", _spread(figures.database_completion)


def _counted(figures: Figures) -> str:
    total = sum(figures.tasks.values())
    by_status = ", ".join(f"{count:,} {status}" for status, count in sorted(figures.tasks.items()))
    return f"{total:,}: {by_status}"


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "none"
    return f"p50 {spread.p50:g} s, p99 {spread.p99:g} s, longest {spread.longest:g} s ({spread.n:,})"


def kinds() -> str:
    """Markdown: every kind of fault, how often it is chosen, and how long it lasts."""
    total = sum(kind.weight for kind in KINDS)
    rows = [("fault", "of 100", "lasts", "what it does"), ("---",) * 4]
    rows += [(f"`{kind.name}`", f"{100 * kind.weight / total:.2g}", _lasts(kind), kind.does) for kind in KINDS]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _lasts(kind: Kind) -> str:
    return f"{kind.shortest:g}–{kind.longest:g} s" if kind.longest else "a moment"


def publish(document: str, block: str) -> str:
    """`document` with `block` between the marks of the figures. Raises ValueError where it has none."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"there is no {BEGIN!r} followed by {END!r}")
    return f"{before}{begin}\n{block}\n{end}{after}"
