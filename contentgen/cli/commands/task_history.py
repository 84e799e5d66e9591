"""The table of `contentgen task stats --by`. Layer: commands."""

from __future__ import annotations

from enum import StrEnum

from contentgen.cli import tables, values
from contentgen.cli.command import Session
from contentgen.cli.documents import Document, document
from contentgen.client.documents import RESOLUTION, value
from contentgen.v1 import task_service_pb2 as pb


class By(StrEnum):
    HOUR = "hour"
    DAY = "day"


def write(session: Session, account_id: int, by: By, since: str | None, until: str | None) -> None:
    """Writes what happened to tasks in each hour or day, oldest first; a table leaves out those without any task."""
    request = pb.GetTaskHistoryRequest(
        account_id=account_id, start_time=values.moment(since), end_time=values.moment(until)
    )
    request.resolution = value(RESOLUTION, by)
    connection = session.connection
    points = connection.call(connection.stubs.tasks.GetTaskHistory, request).points
    found = [document(point) for point in points]
    if session.output.tables:
        found = [point for point in found if _happened(point)]
    session.output.many(found, tables.HISTORY, "tasks")


def _happened(point: Document) -> bool:
    return bool(point["submitted"] or any(point["counts"].values()))
