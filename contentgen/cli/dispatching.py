"""What is paused, for those who show it beside something else. Layer: inside cli, above connection."""

from __future__ import annotations

from contentgen.cli.connection import Connection
from contentgen.cli.documents import Document, document
from contentgen.client.errors import RequestError
from contentgen.doctor.reasons import paused


def pauses(connection: Connection) -> Document:
    """Returns what is paused: nothing if the scheduler's version can't tell."""
    try:
        return document(connection.client.get_dispatch_status())
    except RequestError as error:
        if error.code == "UNIMPLEMENTED":
            return {"all_paused": False, "paused_account_ids": []}
        raise


def paused_text(dispatch: Document) -> str:
    """Names what is paused, as `everything; accounts 1, 3`; empty if nothing is."""
    return str(paused(dispatch["all_paused"], dispatch["paused_account_ids"]))
