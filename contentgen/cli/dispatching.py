"""What is paused, for those who show it beside something else. Layer: inside cli, above connection."""

from __future__ import annotations

from contentgen.cli.connection import Connection
from contentgen.cli.documents import Document, document
from contentgen.client.errors import RequestError
from contentgen.doctor.reasons import paused


def pauses(connection: Connection) -> Document:
    """Nothing if the scheduler is of a version that can't tell."""
    try:
        return document(connection.client.get_dispatch_status())
    except RequestError as error:
        if error.code == "UNIMPLEMENTED":
            return {"all_paused": False, "paused_account_ids": []}
        raise


def paused_text(dispatch: Document) -> str:
    """`everything; accounts 1, 3`; empty if nothing is paused."""
    return str(paused(dispatch["all_paused"], dispatch["paused_account_ids"]))
