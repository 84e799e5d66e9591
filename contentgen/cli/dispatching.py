"""What is paused, for those who show it beside something else. Layer: inside cli, above connection."""

from __future__ import annotations

from contentgen.cli.connection import Connection
from contentgen.client.errors import RequestError
from contentgen.doctor.reasons import paused
from contentgen.v1 import worker_pool_service_pb2 as pb


def pauses(connection: Connection) -> pb.GetDispatchStatusResponse:
    """Empty if the scheduler is of a version that can't tell."""
    try:
        return connection.call(connection.stubs.pool.GetDispatchStatus, pb.GetDispatchStatusRequest())
    except RequestError as error:
        if error.code == "UNIMPLEMENTED":
            return pb.GetDispatchStatusResponse()
        raise


def paused_text(found: pb.GetDispatchStatusResponse) -> str:
    """`everything; accounts 1, 3`; empty if nothing is paused."""
    return str(paused(found.all_paused, found.paused_account_ids))
