"""Which creator options of a task reach the CLI.

Layer: inside `creators`, beside `base`; the runner asks before it starts a run.

Whoever submits a task chooses its options, and an option may make a program read or write any file. So only harmless
ones are passed on: those that the profile knows, or the operator names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from worker_svc.outcome import Failed, Reason, failed

ALL = "*"
"""Allows every option."""


def refusal(options: Mapping[str, str], allowed: Collection[str]) -> Failed | None:
    """Returns the failure of a task with these options; None if all of them are allowed.

    Its details name the refused ones, separated by commas, as `options`.
    """
    refused_options = [] if ALL in allowed else sorted(options.keys() - set(allowed))
    if not refused_options:
        return None
    names = ", ".join(refused_options)
    return failed(
        Reason.INVALID_CREATOR_OPTIONS,
        f"this worker does not allow the creator options {names}: leave them out, or have its operator name them in"
        " CREATOR_OPTIONS_ALLOWED",
        options=names,
    )
