"""The command `contentgen-worker try`: runs the configured CLI once, without a scheduler.

As in main, the guard starts before gRPC is imported.

Exit statuses: 0 completed, 1 failed, 2 wrong arguments, 75 deferred, 78 wrong settings, 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from contentgen.service.settings import (
    EXIT_STATUS,
    EXIT_USAGE,
    FlagParser,
    SettingsError,
    UsageError,
    add_flags,
    settings_of,
)
from contentgen.service.values import seconds_of
from contentgen.submit_fields import BRIEF, Field
from worker_svc.config import WorkerSettings, configure_logging
from worker_svc.creators.base import ARGUMENTS, Brief
from worker_svc.folder import FolderError, take_folder
from worker_svc.guard.child import GuardLostError
from worker_svc.guard.client import Guard

EXIT_FAILED = 1
MAX_TIMEOUT = 3_650 * 86_400.0  # seconds
EXIT_INTERRUPTED = 128 + signal.SIGINT

_DESCRIPTION = """\
Runs the creator CLI once, without a scheduler, and shows what a task with this brief would store.

The CLI gets the profile, environment, scratch folder, limits and time-out that a leased task gets. Progress goes to
stderr, the outcome to stdout. Nothing is stored, and nothing is left behind."""
_EPILOG = """\
examples:
  contentgen-worker try --topic="Working well from home"
  CREATOR_PROFILE=json CREATOR_CLI_PATH=./my-cli contentgen-worker try --topic=Tea --option=audience=beginners
  contentgen-worker try --topic=Tea --timeout=2m --output=json | jq -r .result.body

exit statuses:
  0    completed
  1    failed
  2    wrong arguments
  75   deferred: the CLI asked to come back later
  78   wrong settings
  130  interrupted

Every setting of `contentgen-worker --help` counts, as a flag or as its variable. --log-level=info shows the worker's
log."""


@dataclass(frozen=True, slots=True)
class TryRequest:
    brief: Brief
    timeout: float
    output: Literal["text", "json"]


def run(argv: Sequence[str]) -> int:
    try:
        request, settings = _parse(argv)
    except UsageError as error:
        return _fail(EXIT_USAGE, *error.problems)
    except SettingsError as error:
        return _fail(EXIT_STATUS, *error.problems)
    configure_logging(
        settings.log_level if "log_level" in settings.model_fields_set else "critical", settings.log_format
    )
    signals = _remembered_signals()
    try:
        with TemporaryDirectory(prefix="contentgen-try-") as folder:
            return _run_in(Path(folder), request, settings, signals)
    except SettingsError as error:
        return _fail(EXIT_STATUS, *error.problems)
    except (GuardLostError, FolderError, OSError) as error:
        return _fail(EXIT_FAILED, str(error))


def _remembered_signals() -> Sequence[int]:
    """Only remembers INT, TERM and HUP from now on; returns those that have come so far, as they come.

    The run looks at them once its loop runs, a second later at most. Raising here would leave folders behind, be
    dropped in some callbacks of imports, and change the exit status if it came within exec().
    """
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: signals.append(number))
    return signals


def _run_in(data_dir: Path, request: TryRequest, settings: WorkerSettings, signals: Sequence[int]) -> int:
    user = settings.cli_user()
    if user is not None:
        data_dir.chmod(0o711)
    folder = take_folder(data_dir, None, platform.node(), creator=user.uid if user else None)
    guard = Guard.launch(folder.lock_fd, owner=folder.identity.folder_id, user=user)

    import uvloop

    from worker_svc import trial

    output = trial.TryOutput(request.brief.topic, as_json=request.output == "json")
    output.starts(settings.creator_cli_path, settings.creator_profile, request.timeout)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        lease = trial.lease(request.brief, request.timeout)
        ending = runner.run(trial.execute(settings, folder, guard, lease, output.progressed, earlier_signals=signals))
    folder.close()
    if ending is None:
        return EXIT_INTERRUPTED
    output.ended(ending)
    return {"completed": 0, "deferred": os.EX_TEMPFAIL}.get(ending.WhichOneof("update") or "", EXIT_FAILED)


def _parse(argv: Sequence[str]) -> tuple[TryRequest, WorkerSettings]:
    """Raises SettingsError. `--help` prints and exits 0."""
    options = vars(_parser().parse_args(argv))
    texts = {field.name: options.pop(field.name) for field in BRIEF}
    brief = Brief(texts.pop("topic"), texts, dict(options.pop("option")))
    if not brief.topic.strip():
        raise UsageError(["--topic must not be blank"])
    request = TryRequest(brief, options.pop("timeout"), options.pop("output"))
    return request, settings_of(WorkerSettings, options)


def _parser() -> FlagParser:
    parser = FlagParser(
        "contentgen-worker try",
        usage="contentgen-worker try --topic=TEXT [--option=KEY=VALUE ...] [--timeout=DURATION] [--setting=value ...]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    brief = parser.add_argument_group("the task")
    for field in BRIEF:
        flag, required = f"--{field.name.replace('_', '-')}", field.name == "topic"
        brief.add_argument(flag, metavar="TEXT", required=required, default="", help=_text_help(field))
    brief.add_argument(
        "--option",
        metavar="KEY=VALUE",
        type=_option,
        action="append",
        default=[],
        help="a creator option, more than once for several; allowed as CREATOR_OPTIONS_ALLOWED says",
    )
    brief.add_argument(
        "--timeout",
        metavar="DURATION",
        type=_timeout,
        default=1800.0,
        help="of the run, such as 90s or 5m; default: 30m",
    )
    group = parser.add_argument_group("the outcome")
    group.add_argument(
        "--output", choices=("text", "json"), default="text", help="text: an excerpt; json: all that would be stored"
    )
    add_flags(parser.add_argument_group("the CLI (settings of the worker)"), WorkerSettings, shown="--creator-")
    return parser


def _text_help(field: Field) -> str:
    text = f"{field.help[0].lower()}{field.help[1:].removesuffix('.')}"
    return text if field.name in ARGUMENTS else f"{text}; not passed to the CLI by any profile"


def _option(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError("must be KEY=VALUE")
    return key, value


def _timeout(text: str) -> float:
    seconds = seconds_of(text)
    if seconds is None or not 0 < seconds <= MAX_TIMEOUT:
        raise argparse.ArgumentTypeError("must be a duration above 0 and at most 3650d, such as 90s or 5m")
    return seconds


def _fail(status: int, *lines: str) -> int:
    for line in lines:
        print(f"contentgen-worker try: {line}", file=sys.stderr)  # noqa: T201 - a command prints
    return status
