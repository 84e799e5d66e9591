"""The tables of a run, in Markdown: on a screen and in docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lab.benchmarks import conditions
from lab.benchmarks.markdown import table
from lab.benchmarks.page import Part
from lab.benchmarks.peers.contenders import ALL, Contender
from lab.benchmarks.peers.figures import (
    BULK,
    DRAIN_1,
    DRAIN_2,
    ENQUEUE,
    IDLE_P50,
    IDLE_P99,
    OUR_JOB,
    Kept,
    Run,
)

_HEAD = (
    "queue",
    "its tasks are in",
    "enqueue 1 by 1",
    "in bulk",
    "no-op handler, 1 / 2 workers",
    "what that leaves",
    "our job, 2 workers",
    "idle p50 / p99, ms",
)
_NONE = "–"
PAGE = Part("python -m lab.benchmarks.peers --from lab/benchmarks/results/peers.jsonl --page docs/performance.md")


def tables(kept: Kept) -> str:
    """Returns what was measured, what it was measured with, and the machine."""
    contenders = [contender for contender in ALL if any(figure.peer == contender.key for figure in kept.figures)]
    return "\n\n".join((_figures(kept, contenders), _settings(kept.runs, contenders), *_conditions(kept)))


def _figures(kept: Kept, contenders: Sequence[Contender]) -> str:
    return table(_HEAD, (_row(kept, contender) for contender in contenders))


def _row(kept: Kept, contender: Contender) -> tuple[str, ...]:
    def rate(measure: str) -> str:
        median = kept.median(contender.key, measure)
        return f"{median.value:,.0f}" if median else _NONE

    def latency(measure: str) -> str:
        median = kept.median(contender.key, measure)
        return f"{median.value:.1f}" if median else _NONE

    drain = f"{rate(DRAIN_1)} / {rate(OUR_JOB if contender.drain_is_our_job else DRAIN_2)}"
    idle = f"{latency(IDLE_P50)} / {latency(IDLE_P99)}"
    return (
        contender.name,
        contender.store.value,
        rate(ENQUEUE),
        rate(BULK),
        drain,
        contender.leaves,
        f"**{rate(OUR_JOB)}**",
        idle,
    )


def _settings(runs: Sequence[Run], contenders: Sequence[Contender]) -> str:
    versions = {name: version for run in runs for name, version in run.versions.items()}
    settings = {name: text for run in runs for name, text in run.settings.items()}

    def row(contender: Contender) -> tuple[str, ...]:
        packages = ", ".join(f"{package} {versions[package]}" for package in contender.packages if package in versions)
        return (contender.name, contender.store.value, packages, settings.get(contender.key, contender.settings))

    return table(("queue", "its tasks are in", "versions", "settings"), map(row, contenders))


def _conditions(kept: Kept) -> Iterator[str]:
    for paragraph in conditions.paragraphs(kept.runs):
        several = f" In {len(kept.runs)} runs, one after the other." if len(kept.runs) > 1 else ""
        yield (
            f"{paragraph} {kept.runs[-1].tasks:,} tasks a drain, or the share of them that a slow queue does in the"
            f" same time.{several} {_rounds(kept)}"
        )


def _rounds(kept: Kept) -> str:
    counts = sorted(median.rounds for contender in ALL if (median := kept.median(contender.key, OUR_JOB)))
    if not counts or counts[-1] == 1:
        return "One round."
    return (
        f"Medians of {counts[0]} rounds."
        if counts[0] == counts[-1]
        else f"Medians of {counts[0]} to {counts[-1]} rounds."
    )
