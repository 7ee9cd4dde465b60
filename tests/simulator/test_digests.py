"""Both sides' digests of a body are equal where the bodies say the same, and only there."""

from __future__ import annotations

import json
from typing import Any

from discord_simulator.digests import digest
from discord_simulator.inbox import Inbox
from discord_simulator.intents import ALL, MESSAGE_CONTENT
from discord_simulator.receipts import Receipts
from discord_simulator.wire import Request


class Receiver:
    """An inbox, and the log that outlives it."""

    def __init__(self, *, digests: bool) -> None:
        self.log: list[bytes] = []
        self.inbox = Inbox(receipts=Receipts(append=self.log.append), unix_milliseconds=lambda: 0, digests=digests)

    def deliver(self, body: object, **headers: str) -> None:
        request = Request(method="POST", path="/events", headers=headers, body=json.dumps(body).encode())
        answer = self.inbox.finish(request, self.inbox.arrived(request), answerable=True)
        assert answer.status == 204

    def deliver_all(self, session: str, payloads: list[dict[str, Any]]) -> None:
        self.deliver([{"shard": 0, "session": session, "payload": payload} for payload in payloads])


def test_a_digest_is_of_what_a_body_says() -> None:
    assert digest(b'{"a":{"b":1,"c":[2,3]},"d":null}') == digest(b'{ "d":null,"a":{"c":[2,3],"b":1}}')
    others = [b'{"a":{"b":1,"c":[3,2]},"d":null}', b'{"a":{"b":1,"c":[2,3]}}', b"null", b'"null"', b"[]"]
    assert len({digest(body) for body in others}) == len(others)


def test_what_came_has_the_digests_of_what_was_sent(make_world) -> None:
    world = make_world(guilds=4, digests=True, shuffle_keys=True)
    clients = [world.ready([0, 1], intents=intents) for intents in (ALL, ALL & ~MESSAGE_CONTENT)]
    world.control("POST", "/control/load", {"rate": 50})
    world.run(10)
    receiver = Receiver(digests=True)
    for client in clients:
        receiver.deliver_all(client.session, client.dispatches())
    truth, received = world.control("GET", "/control/truth"), receiver.inbox.receipts.received()
    events = truth["events"]
    digests = {
        (received.sessions[session], sequence): came
        for session, sequence, came in zip(received.session, received.sequence, received.digests, strict=True)
    }
    compared = 0
    for column, session in enumerate(truth["sessions"]):
        for sequence, event in zip(session["sequences"], session["events"], strict=True):
            assert digests[session["id"], sequence] == events["digests"][event - events["first"]][column]
            compared += 1
    assert compared > 500
    assert len({whole for whole, _ in events["digests"]}) > 100
    assert any(whole != redacted for whole, redacted in events["digests"])


def test_digests_are_read_back_from_the_log() -> None:
    receiver = Receiver(digests=True)
    receiver.deliver_all("a", [{"op": 0, "s": 1, "t": "READY", "d": {"v": 10}}, {"op": 0, "s": 2, "t": "X"}])
    receiver.deliver({"op": 0, "s": 3, "t": "Y", "d": [1]}, **{"x-gateway-session": "a"})
    again = Receipts(append=lambda line: None)
    again.read_back(receiver.log)
    expected = [digest(b'{"v":10}'), digest(b"null"), digest(b"[1]")]
    assert again.received().digests == receiver.inbox.receipts.received().digests == expected


def test_nobody_makes_digests_who_was_not_asked_to(make_world) -> None:
    world = make_world(guilds=1)
    client = world.ready([0, 1])
    world.message()
    assert world.control("GET", "/control/truth")["events"]["digests"] == []
    receiver = Receiver(digests=False)
    receiver.deliver_all(client.session, client.dispatches())
    assert receiver.inbox.receipts.received().digests == []
