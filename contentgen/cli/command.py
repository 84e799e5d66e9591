"""What every command has in common: the options for output and scheduler, the connection, the exit status.

A command's function takes a Session, and its own options as typer has them; it returns its exit status, None being 0.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import typer

from contentgen.cli import contexts
from contentgen.cli.connection import Connection, target_of
from contentgen.cli.failures import Failure, Status, error_line, status_of
from contentgen.cli.output import Format, Output
from contentgen.cli.values import option
from contentgen.client.client import MessageMethods
from contentgen.client.errors import RequestError

_AS_IT_IS = "\b"
"""Before a paragraph of help that is not to be filled again."""

OutputOption = Annotated[Format | None, option("How the result is written. Default: table.", "--output", "-o")]
SchedulerOption = Annotated[
    str | None,
    option(
        "Where the scheduler is: a gRPC target, or several addresses by comma."
        " Default: 127.0.0.1:50051. (CONTENTGEN_SCHEDULER)",
        "--scheduler",
        "-s",
        metavar="HOST:PORT",
    ),
]


@dataclass
class Session:
    """One run of a command: its connection and its output."""

    connection: Connection
    output: Output
    default_account: int = 0
    """Of CONTENTGEN_ACCOUNT or the context; 0: none."""

    @property
    def client(self) -> MessageMethods:
        return self.connection.client

    def account(self, option: int | None) -> int:
        """Returns the account that a command needs. Raises BadParameter if nothing names one."""
        if not (account_id := self.accounts(option)):
            raise typer.BadParameter("give --account ID, or set CONTENTGEN_ACCOUNT")
        return account_id

    def accounts(self, option: int | None) -> int:
        """Returns the account that a command is about; 0 is all of them."""
        return self.default_account if option is None else option

    def confirm(self, question: str, *, yes: bool) -> None:
        """Prompts on a terminal, unless `yes`; never in a script. Raises Failure if the answer is not yes."""
        if yes or not (sys.stdin.isatty() and self.output.err.is_terminal):
            return
        self.output.err.print(f"{question} [y/N] ", end="", soft_wrap=True)
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise Failure(Status.FAILED, "nothing was done")

    def failed(self, error: RequestError) -> Status:
        """Prints a call's error to standard error; returns the exit status."""
        self.output.complain(error_line(error))
        return status_of(error)


@dataclass
class Given:
    """What was given before the command's name; what stands behind it wins."""

    output: Format | None = None
    variables: dict[str, str | None] = field(default_factory=dict)
    """Flags by the name of their variable."""
    context: str | None = None


Body = TypeVar("Body", bound=Callable[..., int | None])


class Commands:
    """Commands of one module, in the order of their help: the docstring of each and its examples."""

    def __init__(self, *, local: bool = False) -> None:
        """`local`: they call no scheduler, and get an Output in place of a Session."""
        self._callback_of = _local if local else _connecting
        self._commands: list[tuple[str, str, Callable[..., None]]] = []

    def __call__(self, name: str, *examples: str) -> Callable[[Body], Body]:
        def register(body: Body) -> Body:
            self._commands.append((name, taught(body.__doc__ or "", *examples), self._callback_of(body)))
            return body

        return register

    def add_to(self, app: typer.Typer) -> None:
        for name, help_, callback in self._commands:
            app.command(name, help=help_)(callback)


def taught(text: str, *examples: str) -> str:
    lines = "\n".join(f"  {example}" for example in examples)
    return f"{inspect.cleandoc(text)}\n\n{_AS_IT_IS}\nExamples:\n{lines}"


def _connecting(body: Callable[..., int | None]) -> Callable[..., None]:
    def callback(context: typer.Context, output: Format | None, scheduler: str | None, **options: Any) -> None:
        given: Given = context.obj
        destination = Output(output or given.output or Format.TABLE)
        _check_numbers(options)
        flags = given.variables if scheduler is None else {**given.variables, "CONTENTGEN_SCHEDULER": scheduler}
        settings = contexts.variables(given.context, flags)
        target = target_of(flags, settings)
        account = _account(os.environ.get("CONTENTGEN_ACCOUNT") or settings.get("CONTENTGEN_ACCOUNT"))

        def call() -> int | None:
            with Connection(target, account_id=account) as connection:
                session = Session(connection, destination, account)
                try:
                    return body(session, **options)
                except RequestError as error:
                    return session.failed(error)

        raise typer.Exit(_ended(destination, call))

    return _typer_callback(body, callback, _CONTEXT, _OUTPUT, _SCHEDULER)


def _local(body: Callable[..., int | None]) -> Callable[..., None]:
    def callback(context: typer.Context, output: Format | None, **options: Any) -> None:
        destination = Output(output or context.obj.output or Format.TABLE)
        raise typer.Exit(_ended(destination, lambda: body(destination, **options)))

    return _typer_callback(body, callback, _CONTEXT, _OUTPUT)


_CONTEXT = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
_OUTPUT = inspect.Parameter("output", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=OutputOption)
_SCHEDULER = inspect.Parameter("scheduler", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=SchedulerOption)


def _typer_callback(
    body: Callable[..., int | None], callback: Callable[..., None], *common: inspect.Parameter
) -> Callable[..., None]:
    """Returns `callback` as typer sees it: with the parameters of `body` but its first, and the common ones."""
    _, *own = inspect.signature(body, eval_str=True).parameters.values()
    callback.__signature__ = inspect.Signature([*own, *common])  # type: ignore[attr-defined] # what typer reads
    callback.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *common)}
    return callback


def _check_numbers(options: Mapping[str, Any]) -> None:
    """Raises BadParameter where a number is larger than its field: of 64 bits for ids and bytes, else of 32."""
    for name, value in options.items():
        limit = (1 << 63 if name.endswith(("id", "ids", "account", "bytes")) else 1 << 31) - 1
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and number > limit:
                raise typer.BadParameter(f"{number} is too large a number: {limit} at most")


def _account(text: str | None) -> int:
    if text and not (text.isdecimal() and int(text)):
        raise typer.BadParameter(f"CONTENTGEN_ACCOUNT={text!r} should be the id of an account")
    return int(text or 0)


def _ended(output: Output, body: Callable[[], int | None]) -> int:
    """Runs the body of a command and returns its exit status."""
    try:
        status = body() or Status.DONE
        sys.stdout.flush()
    except Failure as error:
        output.complain(str(error))
        return error.status
    except BrokenPipeError:
        with suppress(OSError):
            sys.stdout.close()  # else Python would write the rest at its exit, and report that it can't
        return Status.CLOSED_PIPE
    return status
