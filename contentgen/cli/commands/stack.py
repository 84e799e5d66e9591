"""`contentgen dev` and `contentgen demo`. Layer: commands."""

from __future__ import annotations

from contentgen.cli.command import Commands
from contentgen.cli.local_stack import replace_by
from contentgen.cli.output import Output

command = Commands(local=True)


@command(
    "dev",
    "contentgen dev",
    "CREATOR_CLI_PATH=/path/to/content-creator contentgen dev",
    "CONTENTGEN_DATA_DIR=/tmp/look CONTENTGEN_LISTEN=127.0.0.1:0 contentgen dev",
)
def dev(_output: Output) -> None:
    """Run the whole stack on this machine until Ctrl-C.

    That is a scheduler on 127.0.0.1:50051 with a PostgreSQL of its own, two workers and the console. It keeps its data
    in .contentgen in the current folder, or where CONTENTGEN_DATA_DIR says, and its logs below. An empty database gets
    account 1. The workers run an offline stand-in for a creator CLI unless CREATOR_CLI_PATH names yours. Other
    settings of the services are taken from the environment too; `contentgen-scheduler --help` lists them.

    It needs all of the package: pip install 'contentgen-grpc[all]'.
    """
    replace_by("dev")


@command("demo", "contentgen demo")
def demo(_output: Output) -> None:
    """Show the life of six tasks on a stack of its own.

    One task loses its worker, one fails and is retried, one is cancelled, one waits for a review. Nothing is kept:
    the stack runs in a temporary folder, and is stopped and removed at the end.

    It needs all of the package: pip install 'contentgen-grpc[all]'.
    """
    replace_by("demo")
