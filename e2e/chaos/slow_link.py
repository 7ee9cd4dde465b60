"""Holds packets back: a program for kernels without netem, run in a pod's network namespace.

iptables hands packets to a queue (``NFQUEUE``), and this answers each one's number with ACCEPT when its time has come,
in order. Plain netlink (``linux/netfilter/nfnetlink_queue.h``), so it needs no package. When it ends, the rule lets
everything pass (``--queue-bypass``).
"""

from __future__ import annotations

import heapq
import itertools
import select
import socket
import struct
import sys
import time
from typing import Final

_NETLINK_NETFILTER: Final = 12
_QUEUE_SUBSYSTEM: Final = 3
_PACKET, _VERDICT, _CONFIG = (_QUEUE_SUBSYSTEM << 8 | message for message in range(3))
_REQUEST: Final = 1
_ATTRIBUTE_HEADER: Final = 1  # NFQA_PACKET_HDR
_ATTRIBUTE_VERDICT: Final = 2  # NFQA_VERDICT_HDR
_CONFIG_COMMAND, _CONFIG_PARAMETERS, _CONFIG_LENGTH = 1, 2, 3
_BIND: Final = 1
_COPY_META: Final = 1
_ACCEPT: Final = 1
_MOST_PACKETS: Final = 20_000


def _attribute(kind: int, data: bytes) -> bytes:
    length = 4 + len(data)
    return struct.pack("=HH", length, kind) + data + b"\0" * (-length % 4)


def _message(kind: int, queue: int, *attributes: bytes) -> bytes:
    body = struct.pack(">BBH", socket.AF_UNSPEC, 0, queue) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, _REQUEST, 0, 0) + body


def packet_numbers(data: bytes) -> list[int]:
    """Numbers of the packets that the messages in *data* are about."""
    numbers = []
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        attributes = data[20:length]
        while kind == _PACKET and len(attributes) >= 4:
            size, name = struct.unpack_from("=HH", attributes)
            if name == _ATTRIBUTE_HEADER:
                numbers.append(struct.unpack_from(">I", attributes, 4)[0])
            attributes = attributes[max(4, size + (-size % 4)) :]
        data = data[max(16, length + (-length % 4)) :]
    return numbers


def accepted(queue: int, number: int) -> bytes:
    return _message(_VERDICT, queue, _attribute(_ATTRIBUTE_VERDICT, struct.pack(">II", _ACCEPT, number)))


def main(queue: int, delay: float) -> None:
    """Delay what comes to *queue* by *delay* seconds, until a signal ends it. Prints a line when it has begun."""
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    link.bind((0, 0))
    link.send(_message(_CONFIG, queue, _attribute(_CONFIG_COMMAND, struct.pack(">BBH", _BIND, 0, 0))))
    link.send(_message(_CONFIG, queue, _attribute(_CONFIG_PARAMETERS, struct.pack(">IB", 0, _COPY_META))))
    link.send(_message(_CONFIG, queue, _attribute(_CONFIG_LENGTH, struct.pack(">I", _MOST_PACKETS))))
    print("holding packets back", flush=True)
    waiting: list[tuple[float, int, int]] = []
    order = itertools.count()
    while True:
        patience = None if not waiting else max(0.0, waiting[0][0] - time.monotonic())
        if select.select([link], [], [], patience)[0]:
            for number in packet_numbers(link.recv(1 << 16)):
                heapq.heappush(waiting, (time.monotonic() + delay, next(order), number))
        while waiting and waiting[0][0] <= time.monotonic():
            link.send(accepted(queue, heapq.heappop(waiting)[2]))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
