"""What a link between two parts does: rules of iptables in a pod's own network namespace, which go with the pod."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chaos.machine import Process
from chaos.schedule import Act

_SLOW_LINK: Final = Path(__file__).with_name("slow_link.py")
_QUEUES: Final = itertools.count(1)
_SECONDS: Final = 20.0

Undo = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Another part as a pod sees it: a pod's address, or a Service's."""

    ip: str
    port: int | None = None
    """None: all of them."""

    def matches(self) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
        """How iptables tells packets to it and packets from it."""
        if self.port is None:
            yield ("-d", self.ip), ("-s", self.ip)
            return
        for protocol in ("udp", "tcp"):
            common, port = ("-p", protocol), str(self.port)
            yield (*common, "-d", self.ip, "--dport", port), (*common, "-s", self.ip, "--sport", port)


def rules(act: Act, addresses: Sequence[Address], *, amount: float, queue: int) -> list[tuple[str, ...]]:
    """What iptables inserts, each beginning with its chain."""
    drawn: list[tuple[str, ...]] = []
    for address in addresses:
        for outgoing, incoming in address.matches():
            for chain, match in (("OUTPUT", outgoing), ("INPUT", incoming)):
                drawn.extend((chain, *match, *then) for then in _then(act, match, amount=amount, queue=queue))
    return drawn


def _then(act: Act, match: tuple[str, ...], *, amount: float, queue: int) -> Iterator[tuple[str, ...]]:
    if act is Act.REFUSE:
        # a refusal is a packet too, and must get through
        for protocol, refusal in (
            ("tcp", ("!", "--tcp-flags", "RST", "RST", "-j", "REJECT", "--reject-with", "tcp-reset")),
            ("udp", ("-j", "REJECT")),
        ):
            if "-p" not in match:
                yield ("-p", protocol, *refusal)
            elif protocol in match:
                yield refusal
    elif act is Act.LOSSY:
        yield ("-m", "statistic", "--mode", "random", "--probability", f"{amount:.3f}", "-j", "DROP")
    elif act is Act.SLOW:
        yield ("-j", "NFQUEUE", "--queue-num", str(queue), "--queue-bypass")
    else:
        yield ("-j", "DROP")


def within(sandbox: Process, *command: str) -> list[str]:
    """*command* in the network of the pod of *sandbox*."""
    return ["nsenter", "-t", str(sandbox.pid), "-n", *command]


def trouble(sandbox: Process, act: Act, addresses: Sequence[Address], *, amount: float = 0.0) -> Undo:
    """Begin *act* between the pod of *sandbox* and *addresses*; *amount* is its seconds each way, or the part that is
    lost. Raises ``CalledProcessError``."""
    queue = next(_QUEUES)
    with contextlib.ExitStack() as undo:
        if act is Act.SLOW:
            # -S and -E: neither site packages nor anything of the environment in a namespace that is not ours
            holder = subprocess.Popen(
                within(sandbox, sys.executable, "-S", "-E", str(_SLOW_LINK), str(queue), f"{amount:.3f}"),
                stdout=subprocess.PIPE,
                text=True,
            )
            undo.callback(_end, holder)
            if not holder.stdout or not holder.stdout.readline():
                raise subprocess.CalledProcessError(holder.wait(timeout=_SECONDS), "slow_link.py")
        for rule in rules(act, addresses, amount=amount, queue=queue):
            subprocess.run(
                within(sandbox, "iptables", "-w", "-I", *rule), check=True, capture_output=True, timeout=_SECONDS
            )
            undo.callback(_remove, sandbox, rule)
        return undo.pop_all().close


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(timeout=_SECONDS)
    if process.stdout:
        process.stdout.close()


def _remove(sandbox: Process, rule: tuple[str, ...]) -> None:
    # where the pod is gone its namespace is, and the rule with it
    if sandbox.alive:
        subprocess.run(within(sandbox, "iptables", "-w", "-D", *rule), check=False, capture_output=True)
