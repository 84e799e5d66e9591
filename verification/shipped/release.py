"""Builds what is published of a version into build/release, and checks it as whoever gets it would: `make release`.

A line a step, with its seconds; of one that fails all that it printed. Without a tag it is a dry run.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from docker.contexts import IMAGES, ROOT, Release, write_context
from setup.metadata import page
from setup.venv import as_uv_has_them

FOLDER = ROOT / "build/release"
PROGRAMS = ("contentgen", "contentgen-scheduler", "contentgen-worker", "contentgen-console")
BARE = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
"""Variables without this environment's settings of Python and contentgen."""
LOCKED = ("--constraints", ROOT / "requirements.lock", "--build-constraints", ROOT / "docker/build.lock")
UV = Path(sys.executable).with_name("uv")
_FILES = """## Files

Of commit {commit}; each clone of it builds the same wheel and sdist.

- `contentgen_grpc-…`: the package, for `pip install`.
- `contentgen-IMAGE-…-context.tar.gz`: unpacked, what `docker build` makes the image of.
- `contentgen-sbom-…`: what each extra and each image brings along, and its licences.
- `contentgen-site-…`: the documentation.

| file | SHA-256 |
|---|---|
"""
_HEADING = re.compile(r"^## \[(Unreleased|\d+\.\d+\.\d+)\](?: - (.*))?$", re.MULTILINE)


class Failed(Exception):
    """What does not hold, and what to do."""


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status. Argument: what uv runs as twine."""
    try:
        with tempfile.TemporaryDirectory(prefix="contentgen-release-") as scratch:
            Path(scratch).chmod(0o711)  # where this is root's, another user runs PostgreSQL
            make(*prepared(), Path(scratch), *arguments)
    except Failed as failure:
        sys.stdout.flush()
        print(f"\n{failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def prepared() -> tuple[Release, str]:
    """Returns what is released, and what the changelog says of it. Raises Failed if this commit can't be released."""
    if changes := git("status", "--porcelain"):
        raise Failed(f"the tree differs from its commit: commit or stash what `git status` names\n{changes}")
    version = run(sys.executable, "-m", "hatchling", "version")
    tags = git("tag", "--points-at", "HEAD", "--list", "v[0-9]*").split()
    section = changes_of(version, tags, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    return Release(version, git("rev-parse", "HEAD"), os.environ.get("SOURCE", "").rstrip("/")), section


def changes_of(version: str, tags: Sequence[str], changelog: str) -> str:
    """Returns the newest section of the changelog, which is about a version whose commit has these tags.

    Raises:
        Failed: there is no section, or the tag, the version and its heading do not agree.
    """
    heading = _HEADING.search(changelog)
    if heading is None:
        raise Failed("CHANGELOG.md has no section of a version: begin it with `## [Unreleased]`")
    if tags and tags != [f"v{version}"]:
        raise Failed(f"the version is {version}, and the commit has {' and '.join(tags)}: leave it one tag, vX.Y.Z")
    if tags and not re.fullmatch(rf"{re.escape(version)} \d{{4}}-\d\d-\d\d", f"{heading[1]} {heading[2]}"):
        raise Failed(
            f"the tag is {tags[0]}, and CHANGELOG.md begins with `{heading[0]}`: "
            f"begin it with `## [{version}] - YYYY-MM-DD`, commit that, and tag that commit instead"
        )
    return changelog[heading.end() :].partition("\n## [")[0].strip()


def make(release: Release, changes: str, scratch: Path, twine: str) -> None:
    """Makes and checks everything, a step after the other."""
    is_dry = "+" in release.version
    print(f"contentgen {release.version}" + is_dry * ": a dry run, since no tag names this commit")
    if not release.source:
        print("SOURCE is not set: the package, the site and the images name no repository")
    os.environ |= as_uv_has_them(run(sys.executable, "-m", "pip", "config", "list")) | os.environ
    os.environ |= {"VERSION": release.version, "SOURCE_DATE_EPOCH": git("log", "-1", "--format=%ct")}
    bills, site, contexts = (scratch / f"contentgen-{name}-{release.version}" for name in ("sbom", "site", "images"))
    shutil.rmtree(FOLDER, ignore_errors=True)
    with step("the wheel and the sdist"):
        wheel, sdist = build(ROOT, FOLDER)
    with step("the same bytes from another clone, and from the sdist"):
        check_reproducible(wheel, sdist, scratch)
    with step("their metadata, as an index wants them"):
        run(UV, "--quiet", "tool", "run", twine, "check", "--strict", wheel, sdist)
    python = check_packages(wheel, sdist, release.version, scratch)
    with step("bills of materials, and licences"):
        run(UV, "--quiet", "pip", "install", "--python", python, *LOCKED, "cyclonedx-python-lib", "packaging")
        run(python, "-m", "verification.shipped.distributions", bills)
    with step("the site"):
        shutil.rmtree(ROOT / "build/docs", ignore_errors=True)
        run("make", "docs")
        shutil.copytree(ROOT / "build/docs", site)
    archives = []
    with step("what each image is built from"):
        for image in IMAGES:
            context = contexts / f"contentgen-{image}-{release.version}"
            write_context(image, release, wheel, context)
            archives.append(pack(context, f"{context.name}-context"))
            shutil.rmtree(context)
            shutil.unpack_archive(archives[-1], contexts, filter="data")
    build_images(contexts, bills, release)
    archives += [pack(bills), pack(site)]
    write_notes(release, changes, [wheel, sdist, *archives])


def build(source: Path, into: Path) -> list[Path]:
    """Returns the wheel and the sdist of a folder."""
    run(sys.executable, "-m", "hatchling", "build", "--target=wheel", "--target=sdist", "--directory", into, cwd=source)
    return sorted(into.iterdir(), key=lambda archive: archive.suffix, reverse=True)


def check_reproducible(wheel: Path, sdist: Path, scratch: Path) -> None:
    """Builds the same commit again, in other folders."""
    run("git", "clone", "--quiet", ROOT, scratch / "clone")
    shutil.unpack_archive(sdist, scratch / "unpacked", filter="data")
    (unpacked,) = (scratch / "unpacked").iterdir()
    for source in (scratch / "clone", unpacked):
        for archive, first in zip(build(source, source / "again"), (wheel, sdist), strict=True):
            expect(digest(archive) == digest(first), f"{archive} has other bytes than {first}")


def check_packages(wheel: Path, sdist: Path, version: str, scratch: Path) -> Path:
    """Installs and runs both, and returns the Python of the environment that has the wheel with all extras."""
    with step("the client alone, installed and imported"):
        python = install(f"contentgen-grpc @ {wheel.as_uri()}", scratch / "client")
        code = "import contentgen; contentgen.ContentGenerationClient; print(contentgen.__version__)"
        shown = run(python, "-I", "-c", code, cwd=scratch)
        expect(shown == version, f"the client's version is {shown}")
    for kind, package in (("sdist", sdist), ("wheel", wheel)):
        with step(f"the {kind} with all extras, installed and started"):
            python = install(f"contentgen-grpc[all] @ {package.as_uri()}", scratch / kind)
            for program in PROGRAMS:
                shown = run(python.with_name(program), "--version", cwd=scratch, env=BARE)
                expect(shown == version, f"the version of {program} is {shown}")
    with step("a demo by the wheel's programs"):
        run(python.with_name("contentgen"), "demo", cwd=scratch, env=BARE)
    return python


def install(requirement: str, venv: Path) -> Path:
    """Returns the Python of a new environment, with the locked versions of what the package needs."""
    python = venv / "bin/python"
    run(UV, "--quiet", "venv", "--python", sys.executable, venv)
    run(UV, "--quiet", "pip", "install", "--python", python, *LOCKED, requirement, cwd=venv)
    return python


def build_images(contexts: Path, bills: Path, release: Release) -> None:
    """Builds each image from its context, and keeps its bill of materials. Says so if there is no engine."""
    if subprocess.run([ROOT / "docker/images.sh", "engine"], check=False, stdout=subprocess.DEVNULL).returncode:
        print("so no image was built of what is there for it")
        return
    for image in IMAGES:
        with step(f"the image contentgen-{image}"):
            try:
                run("docker/images.sh", "build", image, env={**os.environ, "CONTEXTS": str(contexts)})
            except Failed as failure:
                raise Failed(
                    f"{failure}\nif no registry answers: docs/how-to/images.md has BASE and BUILD_OPTIONS"
                ) from None
            config = run("docker/images.sh", "config", f"contentgen-{image}")
            expect(f'"org.opencontainers.image.version": "{release.version}"' in config, "it has another version")
            shutil.copy(ROOT / f"dist/images/contentgen-{image}.cdx.json", bills)


def pack(folder: Path, name: str = "") -> Path:
    """Returns an archive of a folder, whose bytes depend on the content only."""
    archive = FOLDER / f"{name or folder.name}.tar.gz"
    owner = ("--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX")
    order = ("--sort=name", f"--mtime=@{os.environ['SOURCE_DATE_EPOCH']}")
    run("tar", *order, *owner, "-C", folder.parent, "-czf", archive, folder.name)
    return archive


def write_notes(release: Release, changes: str, archives: Sequence[Path]) -> None:
    """Writes NOTES.md, the text of the release's page, and SHA256SUMS."""
    digests = {archive.name: digest(archive) for archive in archives}
    rows = "".join(f"| `{name}` | `{sha256}` |\n" for name, sha256 in digests.items())
    notes = FOLDER / "NOTES.md"
    text = (
        f"# contentgen {release.version}",
        page(changes, release.source),
        _FILES.format(commit=release.commit) + rows,
    )
    notes.write_text("\n\n".join(text), encoding="utf-8")
    digests[notes.name] = digest(notes)
    sums = (f"{sha256}  {name}\n" for name, sha256 in digests.items())
    (FOLDER / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    print(f"all of it is in {FOLDER.relative_to(ROOT)}, with NOTES.md and SHA256SUMS")


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Failed(otherwise)


def git(*arguments: str) -> str:
    return run("git", *arguments)


def run(*command: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    """Returns what a command prints. Raises Failed, with all that it printed, if it fails."""
    ended = subprocess.run(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        words = shlex.join(map(str, command))
        raise Failed(f"{ended.stdout}{ended.stderr}\n{words}\nin {cwd} ended with status {ended.returncode}")
    return ended.stdout.strip()


@contextmanager
def step(name: str) -> Iterator[None]:
    """Shows a step as it begins, and its seconds when it ends."""
    print(f"{name:<60}", end=" ", flush=True)
    begin = time.monotonic()
    result = "failed"
    try:
        yield
        result = ""
    finally:
        print(f"{time.monotonic() - begin:5.1f} s", result)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
