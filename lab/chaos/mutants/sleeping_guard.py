"""A guard that sleeps: it ends no run by itself, neither past a deadline nor when its worker has died.

Instead of `GuardProcess._do_due_work`, for the mutant of that name in `worker`. Like every guard it is started without
site-packages, so it imports nothing else.
"""

from __future__ import annotations

from unittest.mock import patch

from worker_svc.guard.process import main as guard
from worker_svc.guard.process.main import GuardProcess

PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); from lab.chaos.mutants.sleeping_guard import guard_main; "
    "numbers = [[int(n) for n in numbers.split()] for numbers in sys.argv[5:]]; "
    "guard_main(int(sys.argv[2]), sys.argv[3], float(sys.argv[4]), *numbers)"
)
"""What the worker gives its guard's interpreter."""

_do_due_work = GuardProcess._do_due_work


def _do_due_work_of_what_was_asked_for(self: GuardProcess, at: float) -> bool:
    """A run that the worker wants closed is ended; any other one lives on, and the guard with it."""
    unasked = {name: run for name, run in self._runs.items() if not run.close_asked}
    for name in unasked:
        del self._runs[name]
    try:
        return _do_due_work(self, at) or (bool(unasked) and not self._worker_lives)
    finally:
        self._runs |= unasked


def guard_main(sock_fd: int, owner: str, grace: float, user: list[int], inherited: list[int]) -> None:
    with patch.object(GuardProcess, "_do_due_work", _do_due_work_of_what_was_asked_for):
        guard.main(sock_fd, owner, grace, user, inherited)
