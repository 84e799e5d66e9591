"""A report that comes in parts, put together again (rule 22). Part of `api`; one for each stream."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from contentgen.v1 import worker_service_pb2 as pb
from scheduler_svc.domain.errors import FieldViolation, InvalidArgument

MAX_REPORT_BYTES = 4 * 1024 * 1024
"""What a report may hold that comes whole; a stream keeps no more of one in parts."""


class ReportParts:
    """The parts of one report at a time."""

    def __init__(self) -> None:
        self._number = 0
        self._data = bytearray()

    @property
    def received(self) -> int:
        """Bytes of a report that is not complete."""
        return len(self._data)

    def add(self, part: pb.ReportPart) -> pb.Report | None:
        """Takes the next part; the report once it is complete. Raises InvalidArgument."""
        if self._data and part.report_number != self._number:
            raise _bad("report_number", f"must be {self._number} until that report's last part")
        if not part.data:
            raise _bad("data", "must hold the next bytes of the report")
        if len(self._data) + len(part.data) > MAX_REPORT_BYTES:
            raise _bad("data", f"must make a report of at most {MAX_REPORT_BYTES:,} bytes")
        self._number = part.report_number
        self._data += part.data
        return self._completed() if part.last else None

    def _completed(self) -> pb.Report:
        data, self._data = bytes(self._data), bytearray()
        try:
            report = pb.Report.FromString(data)
        except DecodeError:
            raise _bad("data", "must be a serialized Report, once its parts are put together") from None
        if report.number != self._number:
            raise _bad("report_number", "must be the number of the report that is sent in parts")
        return report


def _bad(field: str, text: str) -> InvalidArgument:
    return InvalidArgument([FieldViolation(f"report_part.{field}", text)])
