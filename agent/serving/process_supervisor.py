"""A supervisor that stops a server when the process that started it ends.

`python -m deeprec.agent.serving.process_supervisor PARENT_PID COMMAND…`

A killed parent cannot stop its server, and vLLM's engine and workers outlive a killed server. This small process leads
the server's process group, watches both ends, and leaves none of the group behind. Standard library only.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time

GRACE_S = 10.0
"""Seconds that the server gets to stop by itself."""
_POLL_S = 0.2
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def keep(parent: int, command: list[str]) -> int:
    """Run `command` until it ends, the parent ends, or SIGTERM arrives; then end the rest of this process group.

    Returns:
        The command's exit code, should the group outlive the final SIGKILL (as in a test that calls this directly).
    """
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):  # not Linux: the polling below is what there is
        # Engine and workers come to this process when the server dies before them, so that they can be waited for.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    server = subprocess.Popen(command, preexec_fn=_die_with_supervisor)
    code: int | None = None
    while code is None and not asked and os.getppid() == parent:
        time.sleep(_POLL_S)
        code = server.poll()
    if code is None:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = server.wait(GRACE_S)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _end_group()
    return code if code is not None else -signal.SIGKILL


def _die_with_supervisor() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _end_group() -> None:
    """SIGKILL to every other process of this group, and wait for those that are ours."""
    for pid in group_members(os.getpgrp()):
        if pid != os.getpid():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            done, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if done == 0:
            time.sleep(0.02)


def group_members(group: int) -> list[int]:
    """List the ids of the living processes of a process group, from /proc; without /proc the list is empty."""
    members = []
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                state, _, in_group = file.read().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(in_group) == group and state not in "ZX":
            members.append(int(entry))
    return members


if __name__ == "__main__":
    sys.exit(keep(int(sys.argv[1]), sys.argv[2:]) & 0xFF)
