"""The tables of a run, in Markdown: on a screen and in docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks import conditions
from benchmarks.markdown import table
from benchmarks.page import Part
from benchmarks.peers.contenders import ALL, Contender
from benchmarks.peers.figures import (
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
PAGE = Part("python -m benchmarks.peers --from benchmarks/results/peers.jsonl --page docs/performance.md")


def tables(kept: Kept) -> str:
    """What was measured, what it was measured with, and the machine."""
    measured = [each for each in ALL if any(figure.peer == each.key for figure in kept.figures)]
    return "\n\n".join((_figures(kept, measured), _settings(kept.runs, measured), *_conditions(kept)))


def _figures(kept: Kept, measured: Sequence[Contender]) -> str:
    return table(_HEAD, (_row(kept, each) for each in measured))


def _row(kept: Kept, of: Contender) -> tuple[str, ...]:
    def rate(measure: str) -> str:
        median = kept.median(of.key, measure)
        return f"{median.value:,.0f}" if median else _NONE

    def latency(measure: str) -> str:
        median = kept.median(of.key, measure)
        return f"{median.value:.1f}" if median else _NONE

    drain = f"{rate(DRAIN_1)} / {rate(OUR_JOB if of.drain_is_our_job else DRAIN_2)}"
    idle = f"{latency(IDLE_P50)} / {latency(IDLE_P99)}"
    return (of.name, of.store.value, rate(ENQUEUE), rate(BULK), drain, of.leaves, f"**{rate(OUR_JOB)}**", idle)


def _settings(runs: Sequence[Run], measured: Sequence[Contender]) -> str:
    versions = {name: version for run in runs for name, version in run.versions.items()}
    settings = {name: text for run in runs for name, text in run.settings.items()}

    def row(of: Contender) -> tuple[str, ...]:
        named = ", ".join(f"{package} {versions[package]}" for package in of.packages if package in versions)
        return (of.name, of.store.value, named, settings.get(of.key, of.settings))

    return table(("queue", "its tasks are in", "versions", "settings"), map(row, measured))


def _conditions(kept: Kept) -> Iterator[str]:
    for paragraph in conditions.paragraphs(kept.runs):
        several = f" In {len(kept.runs)} runs, one after the other." if len(kept.runs) > 1 else ""
        yield (
            f"{paragraph} {kept.runs[-1].tasks:,} tasks a drain, or the share of them that a slow queue does in the"
            f" same time.{several} {_rounds(kept)}"
        )


def _rounds(kept: Kept) -> str:
    found = sorted(median.rounds for each in ALL if (median := kept.median(each.key, OUR_JOB)))
    if not found or found[-1] == 1:
        return "One round."
    return (
        f"Medians of {found[0]} rounds." if found[0] == found[-1] else f"Medians of {found[0]} to {found[-1]} rounds."
    )
