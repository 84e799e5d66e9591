"""Exec shim between us and a server program: become its user, die with the parent, exec.

Part of `scheduler_svc.postgres`, run by path and never imported: `python -I -S launch.py UID GID PARENT PROGRAM ARG…`.
It stands in for Popen's `user=` and `preexec_fn`, which would fork through gRPC's handlers.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PARENT_IS_GONE = 3


def main() -> None:
    uid, gid, parent = (int(number) for number in sys.argv[1:4])
    program = sys.argv[4:]
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    if sys.platform == "linux":  # after setuid: a change of credentials clears it
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            sys.exit(PARENT_IS_GONE)
    os.umask(0o077)
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
