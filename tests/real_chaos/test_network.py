"""What iptables and the kernel's packet queue are told. That links are cut and slowed by it, ``make chaos`` shows."""

from __future__ import annotations

import struct

from chaos.network import Address, rules
from chaos.schedule import Act
from chaos.slow_link import accepted, packet_numbers

POD = Address(ip="10.85.0.7")


def test_a_cut_drops_both_directions() -> None:
    assert rules(Act.CUT, [POD], amount=0, queue=1) == [
        ("OUTPUT", "-d", "10.85.0.7", "-j", "DROP"),
        ("INPUT", "-s", "10.85.0.7", "-j", "DROP"),
    ]


RESET = ("!", "--tcp-flags", "RST", "RST", "-j", "REJECT", "--reject-with", "tcp-reset")


def test_a_refusal_is_a_reset_that_gets_through() -> None:
    assert rules(Act.REFUSE, [POD], amount=0, queue=1)[:2] == [
        ("OUTPUT", "-d", "10.85.0.7", "-p", "tcp", *RESET),
        ("OUTPUT", "-d", "10.85.0.7", "-p", "udp", "-j", "REJECT"),
    ]
    by_port = rules(Act.REFUSE, [Address(ip="10.85.0.1", port=53)], amount=0, queue=1)
    assert by_port[0] == ("OUTPUT", "-p", "udp", "-d", "10.85.0.1", "--dport", "53", "-j", "REJECT")
    assert by_port[2] == ("OUTPUT", "-p", "tcp", "-d", "10.85.0.1", "--dport", "53", *RESET)


def test_a_port_alone_is_struck_in_both_protocols() -> None:
    drawn = rules(Act.CUT, [Address(ip="10.85.0.1", port=53)], amount=0, queue=1)
    assert drawn[0] == ("OUTPUT", "-p", "udp", "-d", "10.85.0.1", "--dport", "53", "-j", "DROP")
    assert drawn[3] == ("INPUT", "-p", "tcp", "-s", "10.85.0.1", "--sport", "53", "-j", "DROP")


def test_slow_and_lossy_links_have_their_amounts() -> None:
    assert rules(Act.SLOW, [POD], amount=0.5, queue=3)[0][3:] == ("-j", "NFQUEUE", "--queue-num", "3", "--queue-bypass")
    lossy = rules(Act.LOSSY, [POD], amount=0.25, queue=3)[0]
    assert lossy[3:] == ("-m", "statistic", "--mode", "random", "--probability", "0.250", "-j", "DROP")


def message(kind: int, *attributes: tuple[int, bytes]) -> bytes:
    body = struct.pack(">BBH", 2, 0, 1)
    for name, data in attributes:
        body += struct.pack("=HH", 4 + len(data), name) + data + b"\0" * (-len(data) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def test_packets_are_told_from_other_messages_and_answered_by_number() -> None:
    packet_header = (1, struct.pack(">IHB", 7, 0x0800, 1))
    mark = (3, struct.pack(">I", 1))
    data = message(0x300, mark, packet_header) + message(2, (1, b"\0" * 8))
    assert packet_numbers(data) == [7]
    assert packet_numbers(b"") == []
    assert accepted(1, 7).endswith(struct.pack(">II", 1, 7))
