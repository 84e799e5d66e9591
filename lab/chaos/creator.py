"""The CLI of a campaign: quick, ill-behaved where it is told to be, and a witness of its own runs.

It stands alone: the fleet copies it as a program, which speaks the `json` profile and uses nothing of ours. Each
run tells the journal by itself of its start, five times a second that it still lives, of its end, and that it has given
its result: what a service believes of a run is compared with that.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time

BEAT = 0.2
"""Seconds between two signs of life in the journal."""
ENVIRONMENT = "CHAOS_WORKER,CHAOS_JOURNAL,CHAOS_RUNS"
"""What CREATOR_ENV has to name."""
EXIT_FAILED, EXIT_NO_SPACE = 3, 4
EXIT_DEFERRED = 75
FILE = "picture.bin"
"""What a result names, if it names a file."""
_HUGE = (13_377).to_bytes(4, "big")
_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + _HUGE + _HUGE + b"\x08\x06\0\0\0\xd3\x1d\xd5\xe6"
_ICON = b"\0\0\1\0\1\0\0\0\0\0\1\0\x20\0\xff\xff\xff\0\x16\0\0\0" + _PNG
PICTURES = {
    "none": (b"", b"f"),
    "gif": (b"GIF89a\xff\xff\xff\xff\x80\0\0", b"!\xfe\0"),
    "icon": (_ICON, b"\0\0\0\0IDAT\x35\xaf\x06\x1e"),
    "jpeg": (b"\xff\xd8", b"\xff\xe1\0\2"),
    "png": (_PNG, b"\0\0\0\0IDAT\x35\xaf\x06\x1e"),
    "tiff": (b"II*\0\x08\0\0\0\xff\xff", b"\x42\1\4\0\1\0\0\0\1\0\0\0"),
}
"""By name: how a file begins that costs whoever decodes it, and what then is repeated."""


class Run:
    """One run of `create`, and what it writes into the journal."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.name = _uuid()
        self._journal = os.open(os.environ["CHAOS_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def start(self) -> None:
        worker = os.environ["CHAOS_WORKER"]
        self.note("start", task_id=self.task_id, pid=os.getpid(), worker=worker, time=time.time())

    def end(self, status: int, body: str = "", file: bytes = b"") -> None:
        self.note("end", status=status, body_sha256=_sha256(body.encode()), file_sha256=_sha256(file))

    def note(self, event: str, **details: object) -> None:
        """Writes one line by one write, so that the lines of many processes never mix."""
        document = {"event": event, "run": self.name, **details, "boottime": time.clock_gettime(time.CLOCK_BOOTTIME)}
        os.write(self._journal, json.dumps(document).encode() + b"\n")


def create(options: dict[str, str]) -> int:
    """Does one run from start to end; returns the exit status."""
    run = Run(options["task-id"])
    mode = options.get("chaos-mode", "plain")
    if _runs_so_far(run.task_id) > int(options.get("chaos-times", "1000000")):
        mode = "plain"
    if mode == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    run.start()
    if mode == "fork":
        _fork_away(run)
    seconds = 60.0 if mode == "hang" else float(options.get("chaos-seconds", "0.3"))  # a hang lasts until its timeout
    try:
        _work(run, seconds, talk=mode == "talk")
    except OSError as error:
        run.end(EXIT_NO_SPACE)
        print(f"no scratch: {error}", file=sys.stderr)
        return EXIT_NO_SPACE
    return _finish(run, mode, options)


def _work(run: Run, seconds: float, *, talk: bool) -> None:
    """Lives for so long, with a file in the scratch folder. Raises OSError where the disk is full."""
    deadline = time.monotonic() + seconds
    with open("draft", "wb") as draft:  # noqa: PTH123 - pathlib would double the time that a run takes to start
        draft.write(b"x" * 16 * 1024)
        while (remaining := deadline - time.monotonic()) > 0:
            time.sleep(min(BEAT, remaining))
            run.note("beat")
            if talk:
                print(json.dumps({"progress": round(100 * (1 - max(0.0, remaining) / seconds)), "step": "x" * 400}))


def _finish(run: Run, mode: str, options: dict[str, str]) -> int:
    """Gives its result and ends the process; the exit status where there is none to give."""
    if mode == "fail":
        run.end(EXIT_FAILED)
        print("told to fail", file=sys.stderr)
        return EXIT_FAILED
    if mode == "defer":
        run.end(EXIT_DEFERRED)
        print("retry-after: 1", file=sys.stderr)
        return EXIT_DEFERRED
    if mode == "rubbish":
        run.end(0)
        sys.stdout.buffer.write(os.urandom(3_000) + b'{"content": ')
        return 0
    body = f"run {run.name} " + "a" * int(options.get("chaos-characters", "200"))
    file = _write_file(run, int(options.get("chaos-file", "0")), options.get("chaos-picture", "none"))
    run.end(0, body, file)
    print(json.dumps({"content": body, "images": [FILE] if file else []}), flush=True)
    run.note("printed")
    os._exit(0)  # else a TERM of the last moment could still make a failure of it


def _write_file(run: Run, size: int, picture: str) -> bytes:
    """Writes the file that the result names, another one each run; returns its bytes, none for a size of 0."""
    if not size:
        return b""
    begin, repeated = PICTURES[picture]
    data = begin + repeated * (size // len(repeated)) + run.name.encode()
    try:
        with open(FILE, "wb") as file:  # noqa: PTH123 - as above
            file.write(data)
    except OSError:  # the disk is full: then the result names a file that is not whole
        return b""
    return data


def _fork_away(run: Run) -> None:
    """Leaves a process in a session of its own that ignores TERM, and is alive in the journal as long as it lives."""
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for end in (0, 1, 2):
        os.close(end)
    deadline = time.monotonic() + 60.0  # an orphan's life, unless somebody kills it
    while time.monotonic() < deadline:
        time.sleep(BEAT)
        run.note("beat")
    os._exit(0)


def _runs_so_far(task_id: str) -> int:
    """Returns how many runs of the task have begun, this one included: a file that grows by a byte a run."""
    runs = os.open(f"{os.environ['CHAOS_RUNS']}/{task_id}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(runs, b"x")
    return os.fstat(runs).st_size


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if data else ""


def _uuid() -> str:
    digits = os.urandom(16).hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def main() -> int:
    if sys.argv[1:] == ["--version"]:
        print("chaos creator 1")
        return 0
    return create(dict(argument.removeprefix("--").partition("=")[::2] for argument in sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
