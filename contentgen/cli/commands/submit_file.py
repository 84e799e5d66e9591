"""`contentgen task submit --file`: many tasks in batches, with what became of each row. Layer: commands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from contentgen.cli import cells
from contentgen.cli.command import Session
from contentgen.cli.documents import Document
from contentgen.cli.failures import Status, error_line, status_of
from contentgen.cli.output import Column
from contentgen.cli.progress import counting
from contentgen.cli.rows import BadRow, Row, rows
from contentgen.client.errors import RequestError, ResourceNotFoundException
from contentgen.v1 import task_service_pb2 as pb

BATCH = 500
BATCH_BYTES = 3 << 20
"""Of requests, where a message may have 4 MiB."""

_OF_A_ROW = frozenset({"INVALID_ARGUMENT", "ACCOUNT_INACTIVE", "ACCOUNT_FORBIDDEN", "REQUEST_ID_CONFLICT"})
"""Refusals for what a row says: without that row the others are taken."""
_COLUMNS = (
    Column("LINE", lambda task: str(task["line"]), right=True),
    Column("TASK", lambda task: task["task_id"]),
    Column("TOPIC", lambda task: cells.line(task["topic"])),
)


def submit_file(
    session: Session, path: str, defaults: pb.SubmitTaskRequest, run: str, *, dry_run: bool, yes: bool
) -> int:
    """Submits the good rows and names the bad ones; its exit status."""
    all_rows = list(rows(path, defaults, run))
    good_rows = [row for row in all_rows if isinstance(row, Row)]
    submits = _Submits(session, [row for row in all_rows if isinstance(row, BadRow)])
    if dry_run:
        text = f"would be submitted: {len(good_rows):,} of {len(all_rows):,} rows"
        session.output.text(text, {"rows": len(all_rows), "submitted": len(good_rows), "dry_run": True})
        return submits.status
    if good_rows:
        remark = f" ({len(all_rows) - len(good_rows):,} rows are bad)" if len(good_rows) < len(all_rows) else ""
        session.confirm(f"Submit {len(good_rows):,} tasks{remark}?", yes=yes)
    submits.run(good_rows)
    advice = "; repeat the command to continue: what is submitted is not submitted twice" if submits.stopped else ""
    session.output.note(f"submitted {submits.done:,} of {len(all_rows):,} rows{advice}")
    return submits.status


class _Submits:
    """Submits the rows of one file, and counts what became of them."""

    def __init__(self, session: Session, bad_rows: Sequence[BadRow]) -> None:
        self._session = session
        self.done = 0
        self.stopped = False
        self.status = Status.DONE
        for row in bad_rows:
            self._refuse(row)

    def run(self, good_rows: Sequence[Row]) -> None:
        """Submits them, and writes the tasks; on a terminal a bar says how many there are."""
        output = self._session.output
        if not (output.tables and output.out.is_terminal):
            output.many(self._submitted(good_rows), _COLUMNS, "rows to submit")
            return
        with counting(output.err, "submitted", len(good_rows)) as show:
            for count, _ in enumerate(self._submitted(good_rows), 1):
                show(count)

    def _submitted(self, good_rows: Sequence[Row]) -> Iterator[Document]:
        for batch in _batches(good_rows):
            try:
                yield from self._taken(batch)
            except RequestError as error:
                self.stopped = True
                self.status = status_of(error)
                self._say(f"stopped at line {batch[0].line}: {error_line(error, self._session.connection.target)}")
                return

    def _taken(self, batch: Sequence[Row]) -> Iterator[Document]:
        """The tasks of a batch; halved until each row that is refused stands alone. Raises what is no row's fault."""
        connection = self._session.connection
        request = pb.BatchSubmitTasksRequest(requests=[row.request for row in batch])
        try:
            tasks = connection.call(connection.transport.stubs.tasks.BatchSubmitTasks, request).tasks
        except RequestError as error:
            if not _is_of_a_row(error):
                raise
            if len(batch) == 1:
                self._refuse(BadRow(batch[0].line, self._why(error)))
                return
            half = len(batch) // 2
            yield from self._taken(batch[:half])
            yield from self._taken(batch[half:])
            return
        for row, task in zip(batch, tasks, strict=True):
            self.done += 1
            yield {"line": row.line, "task_id": task.task_id, "topic": task.topic}

    def _why(self, error: RequestError) -> str:
        if error.reason == "REQUEST_ID_CONFLICT":
            return "it was submitted before, with other options; another --run submits it again"
        return error_line(error, self._session.connection.target).replace("requests[0].", "")

    def _refuse(self, row: BadRow) -> None:
        self.status = Status.USAGE
        self._say(f"line {row.line}: {row.why}")

    def _say(self, text: str) -> None:
        self._session.output.note(f"contentgen: {cells.line(text)}")


def _is_of_a_row(error: RequestError) -> bool:
    return isinstance(error, ResourceNotFoundException) or error.reason in _OF_A_ROW


def _batches(good_rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in good_rows:
        row_size = row.request.ByteSize()
        if batch and (len(batch) == BATCH or size + row_size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += row_size
    if batch:
        yield batch
