"""Assembles a report that is sent in parts (rule 22 of the lease protocol). Part of `api`."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from contentgen.v1 import worker_service_pb2 as pb
from scheduler_svc.domain.errors import InvalidArgument, Violation

MAX_REPORT_BYTES = 4 * 1024 * 1024
"""The limit of a report that is sent whole, too."""


class ReportParts:
    """The parts of a stream's report, of which it sends one at a time."""

    def __init__(self) -> None:
        self._number = 0
        self._data = bytearray()

    @property
    def received(self) -> int:
        """Bytes received of the report; 0 if none is incomplete."""
        return len(self._data)

    def add(self, part: pb.ReportPart) -> pb.Report | None:
        """Adds the next part. Returns the report if this part completes it. Raises InvalidArgument."""
        if self._data and part.report_number != self._number:
            raise _bad("report_number", f"must be {self._number} until that report's last part")
        if not part.data:
            raise _bad("data", "must not be empty")
        if len(self._data) + len(part.data) > MAX_REPORT_BYTES:
            raise _bad("data", f"must have, with the parts before it, at most {MAX_REPORT_BYTES:,} bytes")
        self._number = part.report_number
        self._data += part.data
        return self._completed() if part.last else None

    def _completed(self) -> pb.Report:
        data, self._data = bytes(self._data), bytearray()
        try:
            report = pb.Report.FromString(data)
        except DecodeError:
            raise _bad("data", "must be, with the parts before it, a serialized Report") from None
        if report.number != self._number:
            raise _bad("report_number", "must be the number of the report that is sent in parts")
        return report


def _bad(field: str, text: str) -> InvalidArgument:
    return InvalidArgument([Violation(f"report_part.{field}", text)])
