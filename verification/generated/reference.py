"""Keeps the pages of `docs/reference` that are all code: RPCs, errors, client, command, alerts. Run by `make verify`.

`--write` makes them so. The texts are the protos' comments, docstrings, the command's help and the rules of alerts.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from typing import get_args

import typer
import yaml
from google.protobuf import descriptor_pb2 as pb
from typer.cli import get_docs_for_click
from typer.main import get_command

import contentgen
from contentgen.cli.app import PROGRAM, make_app
from contentgen.client import errors, results
from contentgen.rpcs import RPCS
from lab.benchmarks.kept import table
from scheduler_svc.domain.errors import DomainError
from verification.generated.document import differences

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "reference"
_HEAD = "# {}\n\n<!-- made by `python -m verification.generated.reference --write` from {} -->\n\n"
_PROTOC = ("-m", "grpc_tools.protoc", "-Iprotos", "--include_source_info", "--descriptor_set_out=/dev/stdout")
_ITEM = re.compile(r"(?:^|(?<=[.:]))\n +(?=[A-Z]{2}[A-Z_]+\b)")
"""Where an item of a comment's list begins: after the end of a sentence, with a status or a reason."""
_SUBJECT = re.compile(r"^\n([A-Z]{4,})\. ")
"""What a paragraph is about."""
_FEW = 6
"""RPCs that a row of errors names."""


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status: 0 if the pages are right (now), else 1 with what is wrong on the standard output."""
    files = protos()
    pages = {proto.page: str(proto) for proto in files} | {"api/index": overview(files)}
    pages |= {"errors": failures(files), "client": client(), "command": command(), "alerts": alerts()}
    expected = {PAGES / f"{name}.md": text for name, text in pages.items()}
    findings = [line for path, text in expected.items() for line in differences(path, text, arguments)]
    findings += [f"{path} is made from no proto" for path in PAGES.glob("api/*.md") if path not in expected]
    print("\n".join(findings) or "docs/reference has the RPCs, errors, client, command and alerts that the code has")
    return 1 if findings else 0


class Proto:
    """A file of protos; as text, its page."""

    def __init__(self, file: pb.FileDescriptorProto, pages: Mapping[str, str]) -> None:
        """`pages`: where each message and enum is, by its full name."""
        self._file, self._pages = file, pages
        self._comments = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
        self._messages = {message.name: number for number, message in enumerate(file.message_type)}
        self._methods = [(service.name, method) for service in file.service for method in service.method]
        self.page = _page(file)

    def __str__(self) -> str:
        title = self._file.service[0].name if self._file.service else f"Messages of {Path(self._file.name).name}"
        parts = [_HEAD.format(title, f"protos/{self._file.name}"), self._text(6, 0) or self._text(2)]
        parts += [self._rpc(number, *called) for number, called in enumerate(self._methods)]
        shown = {_short(kind) for _, method in self._methods for kind in (method.input_type, method.output_type)}
        parts += [f"## {name}\n\n{self._message(name)}" for name in self._messages if name not in shown]
        for number, enum in enumerate(self._file.enum_type):
            values = [_item(f"`{value.name}`", self._text(5, number, 2, i)) for i, value in enumerate(enum.value)]
            parts.append(f"## {enum.name}\n\n{self._text(5, number)}{''.join(values)}\n")
        return "".join(parts).rstrip() + "\n"

    def reasons(self) -> Iterator[tuple[str, str]]:
        """Yields each reason of an error that an RPC's comment names, and a link to that RPC."""
        for number, (_, method) in enumerate(self._methods):
            for reason in dict.fromkeys(re.findall(r"`([A-Z]+_[A-Z_]+)`", self._text(6, 0, 2, number))):
                yield reason, f"[{method.name}]({self.page}.md#{method.name.lower()})"

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Yields of each RPC a link to it, the first sentence of its comment, and the roles that may call it."""
        for number, (service, method) in enumerate(self._methods):
            purpose = " ".join(self._text(6, 0, 2, number).partition("\n\n")[0].split())
            link = f"[{service}/{method.name}]({Path(self.page).name}.md#{method.name.lower()})"
            yield link, purpose, RPCS[f"{service}/{method.name}"].callers.replace(" ", ", ")

    def _rpc(self, number: int, service: str, method: pb.MethodDescriptorProto) -> str:
        callers = ", ".join([*RPCS[f"{service}/{method.name}"].callers.split(), "operator"])
        parts = [f"## {method.name}\n\n{self._text(6, 0, 2, number)}May be called by the roles: {callers}.\n\n"]
        streamed = {
            _short(method.input_type): method.client_streaming,
            _short(method.output_type): method.server_streaming,
        }
        for name, is_stream in streamed.items():
            stream = "One message of a stream.\n\n" * is_stream
            parts.append(f"### {name}\n\n{stream}{self._message(name)}")
        return "".join(parts)

    def _message(self, name: str) -> str:
        number = self._messages[name]
        message = self._file.message_type[number]
        fields = [
            _item(f"`{field.name}` ({self._type(message, field)})", self._text(4, number, 2, i))
            for i, field in enumerate(message.field)
        ]
        return f"{self._text(4, number)}{''.join(fields) or 'No fields.'}\n"

    def _type(self, message: pb.DescriptorProto, field: pb.FieldDescriptorProto) -> str:
        for entry in message.nested_type:
            if entry.options.map_entry and field.type_name.endswith(f".{message.name}.{entry.name}"):
                return "map of " + " to ".join(self._type(entry, part) for part in entry.field)
        name = _short(field.type_name) or pb.FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
        if page := self._pages.get(field.type_name):
            name = f"[{name}]({'' if page == self.page else Path(page).name + '.md'}#{name.lower()})"
        repeated = field.label == pb.FieldDescriptorProto.LABEL_REPEATED
        if field.HasField("oneof_index") and not field.proto3_optional:
            name = f"{name}, one of `{message.oneof_decl[field.oneof_index].name}`"
        return f"{'repeated ' * repeated}{'optional ' * field.proto3_optional}{name}"

    def _text(self, *path: int) -> str:
        """Returns a comment as Markdown, with an empty line behind it; empty if there is none."""
        lines = [line.removeprefix(" ") for line in self._comments.get(path, "").splitlines()]
        paragraphs = [f"\n{paragraph}" for paragraph in "\n".join(lines).split("\n\n") if paragraph]
        shown = [_SUBJECT.sub(lambda match: f"\n**{match[1].capitalize()}.** ", paragraph) for paragraph in paragraphs]
        return "".join(_ITEM.sub("\n- ", paragraph).strip() + "\n\n" for paragraph in shown)


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _item(name: str, text: str) -> str:
    """Returns an item of a list, whatever paragraphs and lists its text has."""
    return f"- {name}: " + re.sub(r"\n(?=[^\n])", "\n  ", text.strip()) + "\n"


def _page(file: pb.FileDescriptorProto) -> str:
    return f"api/{Path(file.name).stem.replace('_', '-')}"


def protos() -> list[Proto]:
    paths = sorted(path.relative_to(ROOT / "protos").as_posix() for path in ROOT.glob("protos/contentgen/v1/*.proto"))
    made = subprocess.run([sys.executable, *_PROTOC, *paths], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    files = pb.FileDescriptorSet.FromString(made).file
    pages = {f".{file.package}.{message.name}": _page(file) for file in files for message in file.message_type}
    pages |= {f".{file.package}.{enum.name}": _page(file) for file in files for enum in file.enum_type}
    return [Proto(file, pages) for file in files]


def overview(files: Sequence[Proto]) -> str:
    text = "All are in the package `contentgen.v1`, and the role `operator` may call all.\n\n"
    rows = table(("RPC", "what it does", "roles"), [row for proto in files for row in proto.rows()])
    return (
        f"{_HEAD.format('The RPCs', 'the protos')}{text}{rows}\n{_contents(Path(proto.page).name for proto in files)}"
    )


def _contents(names: Iterable[str]) -> str:
    return "\n```{toctree}\n:hidden:\n:glob:\n\n" + "\n".join(names) + "\n```\n"


def failures(files: Sequence[Proto]) -> str:
    """Returns the list of the reasons for which RPCs fail."""
    rpcs: dict[str, list[str]] = {}
    for reason, link in (pair for proto in files for pair in proto.reasons()):
        rpcs.setdefault(reason, []).append(link)
    exceptions: dict[str, type[errors.RequestError]]
    exceptions = {"INVALID_STATE": errors.InvalidStateException, **errors.BY_CODE, **errors.BY_REASON}
    rows = []
    for kind in {kind.reason: kind for kind in DomainError.kinds}.values():
        links = rpcs.get(kind.reason, [])
        exception = exceptions.get(kind.reason, exceptions.get(kind.code, errors.RequestError)).__name__
        delay = f"{kind.retry_after:g} s" if kind.retry_after else ""
        where = ", ".join(links) if len(links) <= _FEW else f"{len(links)} RPCs"
        rows.append((f"`{kind.reason}`", f"`{kind.code}`", delay, f"[{exception}](client.md#exceptions)", where))
    text = (
        "An RPC that fails has a gRPC status with `google.rpc` details, a reason among them."
        " [TaskService](api/task-service.md) says which any RPC may return, and each RPC what its own reasons mean."
        " Why a task failed is no status, but its [error](api/task.md#taskerror).\n\n"
    )
    head = ("reason", "status", "retry after", "exception of the Python client", "RPCs whose comments name it")
    return f"{_HEAD.format('Errors', 'the scheduler and the protos')}{text}{table(head, sorted(rows))}\n"


def client() -> str:
    """Returns the page whose directives show the docstrings of the client."""
    parts = [_section("", "class", ("ContentGenerationClient", "AsyncContentGenerationClient"))]
    for group in contentgen.ContentGenerationClient.__mro__:
        if group.__name__.endswith("Methods") and (names := [name for name in vars(group) if name[0] != "_"]):
            words = re.sub(r"(?<=.)(?=[A-Z])", " ", group.__name__.removesuffix("Methods")).capitalize()
            parts.append(_section(words, "method", [f"ContentGenerationClient.{name}" for name in names]))
    parts.append(_section("Watches", "class", ("Watch", "AsyncWatch")))
    parts.append(_section("Arguments", "class", ("SubmitFields", "TaskChanges", "TaskFilter", "Person")))
    kinds = [name for name, kind in vars(results).items() if getattr(kind, "__module__", "") == results.__name__]
    named = [name if name in results.__all__ else f"client.results.{name}" for name in kinds if name[0] != "_"]
    parts.append(_section("Results", "class", named))
    values = [
        (f"`{name}`", ", ".join(f"`{text}`" for text in get_args(vars(results)[name]))) for name in results.__all__
    ]
    parts.append(f"## Values\n\n{table(('type', 'values'), [row for row in values if row[1]])}\n")
    parts.append(_section("Exceptions", "exception", errors.__all__))
    return _HEAD.format("The Python client", "what contentgen exports") + "\n".join(parts)


def _section(title: str, kind: str, names: Sequence[str]) -> str:
    options = "" if kind == "method" else "\n   :members:\n   :undoc-members:"
    directives = "\n\n".join(f".. auto{kind}:: contentgen.{name}{options}" for name in names)
    return f"{title and f'## {title}{chr(10)}{chr(10)}'}```{{eval-rst}}\n{directives}\n```\n"


def command() -> str:
    root = get_command(make_app())
    text = get_docs_for_click(obj=root, ctx=typer.Context(root, info_name=PROGRAM), name=PROGRAM, title="The command")
    text = re.sub(r"\n+Examples:\n((?:  .*\n)+)", lambda match: f"\n\n```sh\n{dedent(match[1])}```\n", text)
    return text.replace("# The command\n\n", _HEAD.format("The command", "the help of `contentgen`"), 1).rstrip() + "\n"


def alerts() -> str:
    groups = yaml.safe_load((ROOT / "deploy/prometheus/contentgen.rules.yaml").read_text())["groups"]
    rows = []
    for rule in (rule for group in groups for rule in group["rules"] if "alert" in rule):
        text = f"{rule['annotations']['summary']} {rule['annotations']['description']}"
        text = re.sub("{{.*?}}", "…", re.sub(r"{{ \$labels\.(\w+) }}", r"*\1*", text))
        link = f"[{rule['alert']}](../runbooks/{rule['alert']}.md)"
        rows.append((link, rule["labels"]["severity"], rule.get("for", "at once"), text))
    text = "The rules are in `deploy/prometheus/contentgen.rules.yaml`. Each alert has a runbook.\n\n"
    shown = f"{text}{table(('alert', 'severity', 'after', 'what it says'), rows)}\n{_contents(['../runbooks/*'])}"
    return _HEAD.format("Alerts", "the rules of Prometheus") + shown


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
