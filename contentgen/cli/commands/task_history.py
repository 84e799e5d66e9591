"""The table of `contentgen task stats --by`. Layer: commands."""

from __future__ import annotations

from contentgen.cli import tables, values
from contentgen.cli.command import Session
from contentgen.cli.documents import Document, document
from contentgen.client.results import Resolution


def write(session: Session, account_id: int, by: Resolution, since: str | None, until: str | None) -> None:
    """Writes what happened to tasks in each hour or day, oldest first; a table leaves out those without any task."""
    start, end = values.moment(since), values.moment(until)
    points = session.client.get_task_history(account_id, by, start_time=start, end_time=end)
    documents = [document(point) for point in points]
    if session.output.tables:
        documents = [point for point in documents if _happened(point)]
    session.output.many(documents, tables.HISTORY, "tasks")


def _happened(point: Document) -> bool:
    return bool(point["submitted"] or any(point["counts"].values()))
