"""One call for each of several tasks. Layer: commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from contentgen.cli.command import Session
from contentgen.cli.documents import Document
from contentgen.cli.failures import CAUGHT, Status


def each_task(
    session: Session,
    task_ids: Sequence[str],
    call: Callable[[str], Document],
    show: Callable[[Iterator[Document]], None],
) -> int:
    """Does it to each task, and goes on after one that is refused; the first refusal is the exit status."""
    refusals: list[Status] = []

    def done() -> Iterator[Document]:
        for task_id in task_ids:
            try:
                yield call(task_id)
            except CAUGHT as error:
                refusals.append(session.failed(error))

    show(done())
    return next(iter(refusals), Status.DONE)
