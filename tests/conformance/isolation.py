"""A network namespace with nothing but loopback, as a guard: the libraries know Discord's real address.

Sockets belong to the namespace in which their thread was when it made them, and a process to that of the thread which
started it. So the test enters the namespace to open the simulator's port and to start a bot, and leaves it again.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_CLONE_NEWNET: Final = 0x40000000
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1
_OWN: Final = "/proc/thread-self/ns/net"


class NotPermittedError(Exception):
    """This process may make no network namespaces."""


class Isolation:
    """Raises :class:`NotPermittedError` with what to do instead."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._namespace = -1
        self._problem: OSError | None = None
        if _interfaces(Path("/proc/net/dev")) == {"lo"}:
            self._namespace = os.open(_OWN, os.O_RDONLY)
            return
        # In a thread of its own, so that this one stays where it is.
        maker = threading.Thread(target=self._make, name="network namespace")
        maker.start()
        maker.join()
        if self._problem is not None:
            raise NotPermittedError(
                f"network namespaces are not permitted here ({self._problem.strerror}): run as root, or under"
                " `unshare --map-root-user --net sh -c 'ip link set lo up; exec .venv/bin/pytest tests/conformance'`"
            )

    def _make(self) -> None:
        try:
            self._check(self._libc.unshare(_CLONE_NEWNET))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
                request = struct.pack("16sH14x", b"lo", 0)
                (flags,) = struct.unpack("16xH14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))
                fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
            self._namespace = os.open(_OWN, os.O_RDONLY)
        except OSError as problem:
            self._problem = problem

    @staticmethod
    def _check(result: int) -> None:
        if result != 0:
            number = ctypes.get_errno() or errno.EPERM
            raise OSError(number, os.strerror(number))

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets and processes of this thread are born in the namespace."""
        home = os.open(_OWN, os.O_RDONLY)
        try:
            self._check(self._libc.setns(self._namespace, _CLONE_NEWNET))
            try:
                yield
            finally:
                self._check(self._libc.setns(home, _CLONE_NEWNET))
        finally:
            os.close(home)

    def close(self) -> None:
        os.close(self._namespace)


def interfaces_of(pid: int) -> set[str]:
    """The network interfaces that process *pid* sees."""
    return _interfaces(Path(f"/proc/{pid}/net/dev"))


def _interfaces(table: Path) -> set[str]:
    return {line.split(":")[0].strip() for line in table.read_text().splitlines()[2:]}
