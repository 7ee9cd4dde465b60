"""Runs as a program: become the command in argv[2:], told to end if the cluster dies without a word.

``python launch.py PARENT COMMAND...``. A process cluster that is killed cannot end its pods; Linux then sends them
SIGTERM, which is a graceful stop that keeps their sessions resumable. Elsewhere the next start ends what was left over.
Imports nothing of the project: it is on the way of every container start.
"""

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            sys.exit(143)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
