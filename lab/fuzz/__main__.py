"""`make fuzz`: hostile input at every door, with honest work beside it. `python -m lab.fuzz --help`."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path

from lab.fuzz.campaign import TARGETS, Campaign, Plan
from lab.fuzz.tally import write_findings

_HELP = """\
Calls every RPC that the scheduler serves with messages made from the descriptors and with bytes that are none, as
callers of every role, while an honest client and an honest worker go on working. Nothing may come of it but refusals
that say what is wrong: no UNKNOWN or INTERNAL, no crash, no error in a log, no growth, and each honest task completes.
"""
_EPILOG = """\
A case is made from the seed, its target and its number alone, but for ids of tasks and tokens that the run has learnt
from answers. What was found is written to the folder of --findings, a JSON file each: target, seed, number and bytes.

  python -m lab.fuzz --calls 12000 --seed 1          what CI runs
  python -m lab.fuzz --only TaskService/SubmitTask   one RPC
"""


def main(arguments: list[str]) -> int:
    options = _options(arguments)
    if options.targets:
        print("\n".join(TARGETS))
        return 0
    plan = Plan(options.seed, options.calls, tuple(options.only))
    if unknown := plan.unknown():
        raise SystemExit(f"there is no target that is called {', '.join(unknown)}; --targets lists them")
    for number in (signal.SIGTERM, signal.SIGINT):  # whoever ends it, nothing of it is left
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    campaign = Campaign(plan, options.processes, partial(print, file=sys.__stdout__, flush=True))
    findings = campaign.tally.findings
    try:
        campaign.run()
    finally:  # whatever ends it, what it found is kept
        paths = write_findings(findings, options.findings)
    for line in ("", *campaign.report()):
        print(line)
    for finding, path in zip(findings, paths, strict=True):
        print(f"FOUND {finding.target}: {finding.what[:500]} ({path})")
    print(f"\n{len(findings)} findings" if findings else "\nnothing found")
    return 1 if findings else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m lab.fuzz", description=_HELP, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(tempfile.gettempdir()) / "contentgen-fuzz"
    parser.add_argument("--calls", type=_count, default=100_000, help="hostile calls (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="what the cases are made from (default: %(default)s)")
    parser.add_argument("--only", nargs="+", default=[], metavar="TARGET", help="these targets only, by their names")
    parser.add_argument("--targets", action="store_true", help="list the targets, and do nothing")
    parser.add_argument("--processes", type=_count, default=2, help="that make the calls (default: %(default)s)")
    parser.add_argument("--findings", type=Path, default=default, help="folder (default: %(default)s)")
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    number = int(text.replace("_", "").replace(",", ""))
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
