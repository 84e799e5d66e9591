"""`contentgen asset show|get|upload|remove`, and `contentgen content save`. Layer: commands."""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from contentgen.cli import tables
from contentgen.cli.command import Commands, Session
from contentgen.cli.commands.contents import ContentId, Etag, get
from contentgen.cli.failures import Failure, Status
from contentgen.cli.output import Document, document
from contentgen.cli.values import argument, option
from contentgen.client.assets import read
from contentgen.client.transport import run

Sha256 = Annotated[str, argument("SHA256", "The asset, as `content show` has it.")]
ToFile = Annotated[Path | None, option("The file to write. Default: standard output.", "--to", "-O", metavar="FILE")]
ToFolder = Annotated[
    Path | None,
    option("The folder to write into, which must be empty or new. Default: content-CONTENT_ID.", metavar="FOLDER"),
]
File = Annotated[Path, argument("FILE", "The file to upload.", exists=True, dir_okay=False)]
Name = Annotated[str, argument("NAME", "The file, as `content show` names it.")]
AsName = Annotated[str, option("How texts refer to it. Default: the name of the file.", "--name", metavar="NAME")]

command, content_command = Commands(), Commands()


@command("show", f"contentgen asset show {'5' * 64}")
def show(session: Session, sha256: Sha256) -> None:
    """Show what an asset is: its type, its size, and its width and height if it is a picture."""
    session.output.one(document(session.client.get_asset_info(sha256)), tables.asset)


@command("get", f"contentgen asset get {'5' * 64} -O cover.png")
def get_asset(session: Session, sha256: Sha256, to: ToFile = None) -> None:
    """Read an asset, into a file or to standard output."""
    if to is None:
        if sys.stdout.isatty():
            raise typer.BadParameter("a terminal can't show it: give -O FILE, or redirect the output")
        run(read(session.connection.transport, sha256, sys.stdout.buffer.write))
        return
    size = _saved(session, sha256, to)
    session.output.note(f"{to}: {size:,} bytes")


@command("upload", "contentgen asset upload 17 cover.png", "contentgen asset upload 17 new.png --name cover.png")
def upload(session: Session, content_id: ContentId, file: File, name: AsName = "", etag: Etag = "") -> None:
    """Store a file beside a content, in place of one of that name. Its text refers to it as asset:NAME."""
    with file.open("rb") as opened:
        asset = document(session.client.upload_asset(content_id, name or file.name, opened, etag=etag))
    session.output.text(f"content {content_id} has {asset['name']}: {asset['sha256']}", asset)


@command("remove", "contentgen asset remove 17 cover.png")
def remove(session: Session, content_id: ContentId, name: Name, etag: Etag = "") -> None:
    """Remove a file from a content."""
    content = document(session.client.remove_asset(content_id, name, etag=etag))
    session.output.text(f"content {content_id} is at revision {content['revision']}", content)


@content_command("save", "contentgen content save 17", "contentgen content save 17 --to article")
def save_content(session: Session, content_id: ContentId, to: ToFolder = None) -> None:
    """Save an article with its pictures into a folder.

    The folder gets article.md, article.html if there is HTML, and in assets the files that both refer to.
    """
    content = get(session, content_id)
    folder = to or Path(f"content-{content_id}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise Failure(Status.USAGE, f"{folder} is not empty: give another folder by --to")
        _save_into(session, folder, content)
    except OSError as error:
        raise Failure(Status.FAILED, f"{folder} can't be written: {error}") from None
    session.output.note(f"{folder}: content {content_id}, files: {len(content['assets'])}")


def _save_into(session: Session, folder: Path, content: Document) -> None:
    names = {}
    for asset in content["assets"]:
        name = _file_name(asset)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _saved(session, asset["sha256"], folder / name)
        names[f"asset:{asset['name']}"] = name
    for file, field in (("article.md", "body"), ("article.html", "html_body")):
        if text := content[field]:
            for reference in sorted(names, key=len, reverse=True):  # one name may begin with another
                text = text.replace(reference, names[reference])
            (folder / file).write_text(text, encoding="utf-8")


def _file_name(asset: Document) -> str:
    """Returns the path of an asset, below `assets`: by its name, unless that leads elsewhere."""
    name = PurePosixPath(asset["name"])
    return f"assets/{asset['sha256'] if name.is_absolute() or '..' in name.parts else name}"


def _saved(session: Session, sha256: str, path: Path) -> int:
    """Saves an asset and returns how many bytes it has. Raises Failure if the file can't be written."""
    try:
        return session.client.save_asset(sha256, path)
    except OSError as error:
        raise Failure(Status.FAILED, f"{path} can't be written: {error.strerror}") from None
