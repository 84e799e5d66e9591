"""The command tree of `contentgen`."""

from __future__ import annotations

from typing import Annotated

import typer

from contentgen.cli.command import Commands, Given, OutputOption, SchedulerOption, taught
from contentgen.cli.commands import (
    accounts,
    assets,
    callers,
    channels,
    contents,
    contexts,
    doctor,
    following,
    publish_pool,
    reviewing,
    schedules,
    stack,
    submit,
    task_moves,
    task_reads,
    top,
    webhooks,
    workers,
)
from contentgen.cli.completion import context_names
from contentgen.cli.values import option
from contentgen.version import own_version

PROGRAM = "contentgen"

_HELP = """Run content-generation tasks from a terminal or a script, and look after those who run them.

The scheduler's address, the token and TLS come from the environment: CONTENTGEN_SCHEDULER, CONTENTGEN_TOKEN or
CONTENTGEN_TOKEN_FILE, CONTENTGEN_TLS_CA, CONTENTGEN_TLS_CLIENT_CERT, CONTENTGEN_TLS_CLIENT_KEY; or from a context,
which `contentgen context` keeps. CONTENTGEN_ACCOUNT is the account of commands that name none.

Exit statuses: 0 done, 1 the task failed, 2 usage, 3 not found, 4 unavailable, 5 wrong state, 130 interrupted."""

_EXAMPLES = (
    'contentgen task submit --account 1 "Working well from home" --wait',
    "contentgen task list --status failed",
    "contentgen --output jsonl task list | jq -r .task_id",
    "contentgen --scheduler 10.0.0.5:50051 doctor",
    "contentgen --install-completion",
)


def _version(requested: bool) -> None:
    if requested:
        typer.echo(own_version())
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version of this command.")
]
TokenFileOption = Annotated[str | None, option("File that holds the token. (CONTENTGEN_TOKEN_FILE)", metavar="FILE")]
CaOption = Annotated[
    str | None,
    option(
        "PEM file of the authority of the scheduler's certificate; unset: plaintext. (CONTENTGEN_TLS_CA)",
        metavar="FILE",
    ),
]
CertOption = Annotated[
    str | None, option("PEM file of our own certificate. (CONTENTGEN_TLS_CLIENT_CERT)", metavar="FILE")
]
KeyOption = Annotated[str | None, option("PEM file of its key. (CONTENTGEN_TLS_CLIENT_KEY)", metavar="FILE")]
ContextOption = Annotated[
    str | None,
    option(
        "The context to use, see `contentgen context`. (CONTENTGEN_CONTEXT)",
        "--context",
        metavar="NAME",
        envvar="CONTENTGEN_CONTEXT",
        show_envvar=False,
        autocompletion=context_names,
    ),
]


def _root(
    context: typer.Context,
    output: OutputOption = None,
    scheduler: SchedulerOption = None,
    token_file: TokenFileOption = None,
    tls_ca: CaOption = None,
    tls_client_cert: CertOption = None,
    tls_client_key: KeyOption = None,
    context_name: ContextOption = None,
    version_: VersionOption = False,  # noqa: ARG001 - its callback answers it
) -> None:
    context.obj = Given(
        output,
        {
            "CONTENTGEN_SCHEDULER": scheduler,
            "CONTENTGEN_TOKEN_FILE": token_file,
            "CONTENTGEN_TLS_CA": tls_ca,
            "CONTENTGEN_TLS_CLIENT_CERT": tls_client_cert,
            "CONTENTGEN_TLS_CLIENT_KEY": tls_client_key,
        },
        context_name,
    )


def make_app() -> typer.Typer:
    app = typer.Typer(
        name=PROGRAM,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help=taught(_HELP, *_EXAMPLES))(_root)
    of_tasks = (submit.command, task_reads.command, following.command, task_moves.command)
    _group(app, "task", "Submit, follow, cancel and retry tasks.", *of_tasks)
    _group(app, "worker", "The workers: what they run, and with how many slots.", workers.command)
    _group(app, "dispatch", "Whether tasks are dispatched to workers.", workers.dispatch_command)
    of_contents = (contents.command, reviewing.command, assets.content_command)
    _group(app, "content", "What was generated, and its review.", *of_contents)
    _group(app, "asset", "The files of contents, such as their pictures.", assets.command)
    _group(app, "pool", "The publish pool: approved contents on their way out.", publish_pool.command)
    _group(app, "schedule", "Tasks that are submitted again and again, by a cron line.", schedules.command)
    _group(app, "account", "The accounts that tasks belong to.", accounts.command)
    _group(app, "channel", "Chats and mailboxes whose people are told what happens.", channels.command)
    _group(app, "webhook", "Addresses that receive events of tasks and contents.", webhooks.command)
    _group(app, "maintenance", "Times in which no new tasks are taken.", workers.maintenance_command)
    _group(app, "token", "The tokens that callers have.", callers.token_command)
    _group(app, "audit", "Who made which call, and how it ended.", callers.audit_command)
    _group(app, "context", "Named settings: which scheduler, which account.", contexts.command)
    for commands in (callers.command, top.command, doctor.command, stack.command):
        commands.add_to(app)
    return app


def _group(app: typer.Typer, name: str, help_: str, *commands: Commands) -> None:
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    for part in commands:
        part.add_to(group)
    app.add_typer(group, name=name, help=help_)
