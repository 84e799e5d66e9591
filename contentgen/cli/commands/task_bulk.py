"""Moves all tasks that match, in steps: counts them, prompts, and shows how far it is. Layer: commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from contentgen.cli.command import Session
from contentgen.cli.failures import Status
from contentgen.cli.progress import counting

STEP = 5_000
"""Tasks of one call: it takes a second or two, and another one follows."""


@dataclass(frozen=True, slots=True)
class BulkMove:
    """A call that moves many tasks, and the words for it."""

    call: Callable[..., int]
    """A method of the client, which takes `limit` and `dry_run`."""
    done: str
    """What is said of the tasks then, such as `cancelled`."""
    count: str
    """The name of their number in JSON."""

    def run(self, session: Session, question: str, *, limit: int | None, dry_run: bool, yes: bool) -> int:
        """Moves up to `limit` tasks (None: all), after a prompt on a terminal, where `{}` is how many tasks."""
        match_count = self.call(dry_run=True)
        total = match_count if limit is None else min(match_count, limit)
        if dry_run:
            session.output.text(f"would be {self.done}: {total:,}", {self.count: total, "dry_run": True})
            return Status.DONE
        if total:
            session.confirm(question.format("1 task" if total == 1 else f"{total:,} tasks"), yes=yes)
        moved_count = self._move(session, total)
        session.output.text(f"{self.done}: {moved_count:,}", {self.count: moved_count, "dry_run": False})
        return Status.DONE

    def _move(self, session: Session, total: int) -> int:
        """Moves so many in steps, or fewer if no more are left; returns how many."""
        moved_count = 0
        err = session.output.err
        with counting(err, self.done, total) as show:
            while moved_count < total:
                step = min(STEP, total - moved_count)
                changed_count = self.call(limit=step)
                moved_count += changed_count
                show(moved_count)
                if changed_count < step:
                    break
                if moved_count < total and not err.is_terminal:
                    session.output.note(f"{self.done}: {moved_count:,} of {total:,}")
        return moved_count
