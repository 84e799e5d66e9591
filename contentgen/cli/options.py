"""Options and arguments that several commands have, among them the fields of a submit. Layer: inside cli."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Annotated, Any

import typer

from contentgen.cli import completion, values
from contentgen.submit_fields import FIELDS, Field, Kind

TaskId = Annotated[
    str,
    typer.Argument(metavar="TASK_ID", help="The task.", show_default=False, autocompletion=completion.task_ids),
]
TaskIds = Annotated[
    list[str],
    typer.Argument(
        metavar="TASK_ID", help="One or more tasks.", show_default=False, autocompletion=completion.task_ids
    ),
]

ScheduleId = Annotated[
    int,
    typer.Argument(
        metavar="SCHEDULE_ID",
        min=1,
        help="The schedule.",
        show_default=False,
        autocompletion=completion.schedule_ids,
    ),
]
ScheduleIds = Annotated[
    list[int],
    typer.Argument(
        metavar="SCHEDULE_ID",
        min=1,
        help="One or more schedules.",
        show_default=False,
        autocompletion=completion.schedule_ids,
    ),
]


def account_option(text: str, *, minimum: int = 1) -> Any:
    """`--account`, an account's id of at least `minimum`, with `text` as its help."""
    return typer.Option(
        "--account",
        "-a",
        min=minimum,
        metavar="ID",
        help=text,
        show_default=False,
        autocompletion=completion.account_ids,
    )


OfAccount = Annotated[int | None, account_option("The account. Default: CONTENTGEN_ACCOUNT, or that of the context.")]
OnlyAccount = Annotated[
    int | None, account_option("Only of this account; 0: of all. Default: CONTENTGEN_ACCOUNT, or of all.", minimum=0)
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", "-n", min=1, metavar="N", help="How many at most.", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="To the end, as JSON is; a table ends after 20 rows.")]
PageToken = Annotated[
    str, typer.Option("--page-token", metavar="TOKEN", help="Continue where a list has ended.", show_default=False)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not prompt, not even on a terminal.")]
Statuses = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        help="Only in this state; may be given several times, or several by comma: pending, submitted, processing,"
        " completed, failed, timeout, cancelled.",
        show_default=False,
        autocompletion=completion.task_states,
    ),
]
PAGE_SIZE = 200
"""Of a list that is read to its end."""


_APART = ("account_id", "topic")
"""What each command has in its own way."""
_GIVEN = "given"
_WRITTEN: Mapping[Kind, tuple[Any, dict[str, Any]]] = {
    Kind.TEXT: (str, {}),
    Kind.WORDS: (str, {}),
    Kind.WHOLE: (int, {}),
    Kind.NUMBER: (float, {}),
    Kind.YES_NO: (bool, {}),
    Kind.LENGTH: (float, {"parser": values.seconds, "metavar": "DURATION"}),
    Kind.TIME: (str, {"parser": values.time, "metavar": "TIME"}),
    Kind.PAIRS: (list[str], {"parser": values.pair, "metavar": "KEY=VALUE"}),
}
"""The type of each kind's option, and what else typer has to know of it."""

SUBMITTED = tuple(field for field in FIELDS if field.name not in _APART)
OF_A_SCHEDULE = tuple(field for field in SUBMITTED if field.in_schedule)
CHANGEABLE = tuple(field for field in FIELDS if field.changeable)
"""Of a pending task."""

Body = Callable[..., int | None]


def with_options(fields: Iterable[Field], *, defaults: bool = True) -> Callable[[Body], Body]:
    """The parameter `given` of a command becomes an option a field. It gets their values by name, of those given.

    `defaults`: the help says what holds for a field that is not given.
    """
    parameters = [_parameter(field, defaults=defaults) for field in fields]

    def decorate(body: Body) -> Body:
        @wraps(body)
        def decorated(*arguments: Any, **keywords: Any) -> int | None:
            options = {parameter.name: keywords.pop(parameter.name) for parameter in parameters}
            keywords[_GIVEN] = {
                name: dict(value) if isinstance(value, list) else value
                for name, value in options.items()
                if value is not None
            }
            return body(*arguments, **keywords)

        signature = inspect.signature(body, eval_str=True)
        replacement = [
            parameter
            for present in signature.parameters.values()
            for parameter in (parameters if present.name == _GIVEN else [present])
        ]
        decorated.__signature__ = signature.replace(parameters=replacement)  # type: ignore[attr-defined] # see command
        return decorated

    return decorate


def _parameter(field: Field, *, defaults: bool) -> inspect.Parameter:
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[_WRITTEN[field.kind][0] | None, _option(field, defaults=defaults)],
    )


def _option(field: Field, *, defaults: bool) -> Any:
    settings = {**_WRITTEN[field.kind][1]}
    if field.kind in {Kind.WHOLE, Kind.NUMBER}:
        settings |= {"min": field.least, "max": field.most}
    if field.metavar:
        settings["metavar"] = field.metavar
    text = f"{field.help} Default: {field.default}." if defaults and field.default else field.help
    return typer.Option(*_flags(field), help=text, show_default=False, **settings)


def _flags(field: Field) -> tuple[str, ...]:
    name = field.name.replace("_", "-")
    return field.flags or ((f"--{name}/--no-{name}",) if field.kind is Kind.YES_NO else (f"--{name}",))
