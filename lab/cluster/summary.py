"""What is said at the end: counts, what was done and what came of it, and the judgement. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from lab.cluster.audit import Audit
from lab.cluster.faults import Fault, Faults
from lab.cluster.load import Load
from lab.cluster.options import Options

_MAX_WRONG = 20


def summary(found: Audit, load: Load, faults: Faults, options: Options, seconds: float) -> tuple[Sequence[str], bool]:
    """Returns the lines of the summary, and whether all is as it should be."""
    problems = [*found.wrong, *load.wrong]
    unsure = load.submitted - load.acknowledged
    if options.unattended and unsure:
        problems.append(f"{unsure} submits were never acknowledged")
    if options.unattended and found.open:
        problems.append(f"{found.open} tasks did not come to their end")
    if options.script:
        problems += faults.missed
    lines = [
        "",
        f"{seconds:.0f} s; faults {len(faults.all)}, restarts by roll {faults.restarts}",
        f"submitted {load.submitted}, acknowledged {load.acknowledged}, completed {found.completed}, open {found.open}",
        f"lost {found.lost}, twice {found.twice}; {found.again} needed another attempt"
        + (f"; {unsure} submits got no answer before the end" if unsure else ""),
        *_told(faults.all),
        *(f"WRONG: {problem}" for problem in problems[:_MAX_WRONG]),
        "nothing was lost, and nothing done twice" if not problems else f"{len(problems)} things are WRONG: see above",
    ]
    return lines, not problems


def _told(faults: Sequence[Fault]) -> Iterator[str]:
    if not faults:
        return
    yield ""
    yield f"{'what':<34}{'lasted':>8}{'healthy':>9}{'slowest':>9}  first alert"
    for fault in faults:
        duration = f"{fault.undone - fault.began:.0f} s" if fault.undone is not None else "-"
        healthy = f"{fault.healthy - fault.undone:.1f} s" if fault.healthy and fault.undone else "-"
        yield f"{fault.what:<34}{duration:>8}{healthy:>9}{fault.slowest:>7.1f} s  {_alerts(fault)}"
    lags = [fault.healthy - fault.undone for fault in faults if fault.healthy and fault.undone]
    if lags:
        yield f"healthy again {median(lags):.1f} s after what was done had ended (median), {max(lags):.1f} s at most"
    runbooks = {name: path for fault in faults for name, path in fault.runbooks.items()}
    yield from (f"{name}: {path}" for name, path in sorted(runbooks.items()))


def _alerts(fault: Fault) -> str:
    first: dict[str, float] = {}
    for (name, _), delay in fault.alerts.items():
        first.setdefault(name, delay)
    return ", ".join(f"{name} after {first_delay:.0f} s" for name, first_delay in first.items()) or "none"
