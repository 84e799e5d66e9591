"""What every command has in common: the options for output and scheduler, the connection, the exit status.

Layer: inside operators, above connection and output. A command's function takes a Session, and its own options as typer
has them; it returns its exit status, None being 0.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from contentgen.cli.connection import Connection, Target
from contentgen.cli.failures import CAUGHT, Failure, Status, status_of, told
from contentgen.cli.output import ClosedPipe, Format, Output

P = ParamSpec("P")

_AS_IT_IS = "\b"
"""Before a paragraph of help that is not to be filled anew."""

OutputOption = Annotated[
    Format | None,
    typer.Option("--output", "-o", help="How the result is written. Default: table.", show_default=False),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        "-s",
        metavar="HOST:PORT",
        help="Where the scheduler is: a gRPC target, or several addresses by comma."
        " Default: 127.0.0.1:50051. (CONTENTGEN_SCHEDULER)",
        show_default=False,
    ),
]


@dataclass
class Session:
    """One run of a command: its connection and its output."""

    connection: Connection
    output: Output

    def failed(self, error: BaseException) -> Status:
        """Says on standard error what a call raised; the exit status that it comes to."""
        complain(told(error, self.connection.target), self.output)
        return status_of(error)


@dataclass
class Given:
    """What was given before the command's name; what stands behind it wins."""

    output: Format | None = None
    variables: dict[str, str | None] = field(default_factory=dict)
    """Flags by the name of their variable."""


Body = Callable[Concatenate[Session, P], int | None]


def command(app: typer.Typer, name: str, *examples: str) -> Callable[[Body[P]], Body[P]]:
    """Adds a command to `app`; its docstring and the examples are its help."""

    def register(body: Body[P]) -> Body[P]:
        app.command(name, help=taught(body.__doc__ or "", *examples))(_typer_callback(body))
        return body

    return register


def taught(text: str, *examples: str) -> str:
    """Help that ends with examples."""
    shown = "\n".join(f"  {example}" for example in examples)
    return f"{inspect.cleandoc(text)}\n\n{_AS_IT_IS}\nExamples:\n{shown}"


def _typer_callback(body: Callable[..., int | None]) -> Callable[..., None]:
    """`body` as typer sees it: with its own parameters, the common ones, and without the session."""

    def callback(context: typer.Context, output: Format | None, scheduler: str | None, **own: Any) -> None:
        before: Given = context.obj
        variables = {**before.variables}
        if scheduler is not None:
            variables["CONTENTGEN_SCHEDULER"] = scheduler
        raise typer.Exit(run(body, Output(output or before.output or Format.TABLE), variables, own))

    parameters = [*list(inspect.signature(body, eval_str=True).parameters.values())[1:], *_common_parameters()]
    callback.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # what typer reads
    callback.__annotations__ = {each.name: each.annotation for each in parameters}
    return callback


def _common_parameters() -> list[inspect.Parameter]:
    annotations: Mapping[str, Any] = {"context": typer.Context, "output": OutputOption, "scheduler": SchedulerOption}
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if name == "context" else None,
            annotation=annotation,
        )
        for name, annotation in annotations.items()
    ]


def run(
    body: Callable[..., int | None], output: Output, variables: Mapping[str, str | None], own: Mapping[str, Any]
) -> int:
    """Runs a command; its exit status. Raises typer.BadParameter where the usage is wrong."""
    target = Target.of(variables)
    try:
        with Connection(target) as connection:
            status = body(Session(connection, output), **own) or Status.DONE
        sys.stdout.flush()
    except CAUGHT as error:
        complain(told(error, target), output)
        return status_of(error)
    except Failure as error:
        complain(str(error), output)
        return error.status
    except (ClosedPipe, BrokenPipeError):
        _let_go_of_standard_output()
        return Status.CLOSED_PIPE
    return status


def complain(text: str, output: Output) -> None:
    """One line on standard error, with the name of the program that says it."""
    output.note(f"contentgen: {text}")


def _let_go_of_standard_output() -> None:
    """Else Python would try to write the rest at its end, and say that it can't."""
    with suppress(OSError):
        sys.stdout.close()
