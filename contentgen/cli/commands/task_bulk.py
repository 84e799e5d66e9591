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
    """One kind of bulk call."""

    call: Callable[..., int]
    """A method of the client, which takes `limit` and `dry_run`."""
    done: str
    """What is said of the tasks then, such as `cancelled`."""
    count: str
    """The name of their number in JSON."""

    def run(self, session: Session, question: str, *, limit: int | None, dry_run: bool, yes: bool) -> int:
        """Moves up to `limit` tasks (None: all), after a prompt on a terminal, where `{}` is how many tasks."""
        matched = self.call(dry_run=True)
        most = matched if limit is None else min(matched, limit)
        if dry_run:
            session.output.text(f"would be {self.done}: {most:,}", {self.count: most, "dry_run": True})
            return Status.DONE
        if most:
            session.confirm(question.format("1 task" if most == 1 else f"{most:,} tasks"), yes=yes)
        moved = self._move(session, most)
        session.output.text(f"{self.done}: {moved:,}", {self.count: moved, "dry_run": False})
        return Status.DONE

    def _move(self, session: Session, most: int) -> int:
        """Moves so many in steps, or fewer if no more are left; returns how many."""
        moved = 0
        err = session.output.err
        with counting(err, self.done, most) as show:
            while moved < most:
                step = min(STEP, most - moved)
                changed = self.call(limit=step)
                moved += changed
                show(moved)
                if changed < step:
                    break
                if moved < most and not err.is_terminal:
                    session.output.note(f"{self.done}: {moved:,} of {most:,}")
        return moved
