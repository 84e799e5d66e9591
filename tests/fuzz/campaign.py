"""A campaign: the attack, the honest work beside it, and what is looked at while it runs and at its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from tests.fuzz.calls import Plan, make_calls
from tests.fuzz.case import Who
from tests.fuzz.gardener import Gardener
from tests.fuzz.generating import every_path
from tests.fuzz.honest import Honest
from tests.fuzz.report import Beside
from tests.fuzz.services import Services, growth, services
from tests.fuzz.tally import Finding, Tally

ALLOWED_GROWTH = 64.0
"""MiB that a process may be larger at the end than after its warm-up."""
_SAY_EACH = 10.0
"""Seconds between two lines of progress."""


class Campaign:
    """One run with one seed. `tally` and `beside` are complete once `run` has returned."""

    def __init__(self, seed: int, calls: int, processes: int, only: tuple[str, ...] = ()) -> None:
        paths = tuple(path for path in every_path() if not only or path.endswith(only))
        self._plan = Plan(paths, seed, calls, processes)
        self.tally = Tally()
        self.seconds = 0.0
        self.beside = Beside({}, 0, 0, 0)

    def run(self, say: Callable[[str], None]) -> None:
        """Runs it; `say` gets a line of progress now and then."""
        with services() as attacked:
            honest = Honest(attacked.scheduler.target, attacked.honest_token)
            gardener = Gardener(attacked.scheduler.target, attacked.tokens[Who.OPERATOR])
            with honest.working(), gardener.tending():
                self._attack(attacked, honest, say)
            self._look(attacked, honest, gardener)

    def _attack(self, attacked: Services, honest: Honest, say: Callable[[str], None]) -> None:
        begun = said = time.monotonic()

        def done() -> None:
            nonlocal said
            attacked.sample()
            if time.monotonic() - said > _SAY_EACH:
                said = time.monotonic()
                say(self._progress(said - begun, honest))

        make_calls(attacked, self._plan, self.tally, done)
        self.seconds = time.monotonic() - begun
        say(self._progress(self.seconds, honest))

    def _progress(self, seconds: float, honest: Honest) -> str:
        cases = self.tally.cases
        rate = f"{cases:,} calls in {seconds:.0f} s ({cases / seconds:,.0f}/s)"
        return f"{rate}, {len(honest.seconds):,} honest tasks, {len(self.tally.findings)} findings"

    def _look(self, attacked: Services, honest: Honest, gardener: Gardener) -> None:
        """What is wrong with the services, with the honest work, with the memory."""
        grown = {name: growth(samples) for name, samples in attacked.memory.items()}
        for what in (*attacked.troubles(), *honest.failures, *gardener.failures):
            self._find("services", what)
        for name, (begin, end) in grown.items():
            if end - begin > ALLOWED_GROWTH:
                self._find("memory", f"the {name} has grown from {begin:.0f} to {end:.0f} MiB")
        seconds = honest.seconds or [0.0]
        self.beside = Beside(grown, len(honest.seconds), median(seconds), max(seconds))

    def _find(self, target: str, what: str) -> None:
        self.tally.find(Finding(target, what, self._plan.seed, 0))
