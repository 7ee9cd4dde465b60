"""What a shard says to Discord of its own: IDENTIFY, RESUME and heartbeats, as they are or by the user's hooks."""

from __future__ import annotations

from collections.abc import Callable

from gateway_hooks import Hooks
from shard_runtime.connection.inflate import PAYLOAD
from shard_runtime.hooked.session import HEARTBEAT, IDENTIFY, HookedSession
from shard_runtime.inbound import Inbound
from shard_runtime.protocol import payloads
from shard_runtime.shard_meter import ShardMeter
from shard_runtime.shard_ports import Log, ShardOptions


class Voice:
    def __init__(
        self,
        *,
        shard: int,
        options: ShardOptions,
        token: Callable[[], str],
        connection: Callable[[], Inbound | None],
        identifying: Callable[[], bool],
        identified: Callable[[], None],
        failed: Callable[[Exception], None],
        meter: ShardMeter,
        log: Log,
        hooks: Hooks | None,
    ) -> None:
        """*connection* is the one that there is now; *identifying* says whether it waits for its IDENTIFY, *identified*
        is called when that was written, and *failed* is told what goes wrong in a hook's default."""
        self._id = shard
        self._options = options
        self._token = token
        self._connection = connection
        self._identifying = identifying
        self._identified = identified
        self._meter = meter
        self._log = log
        self._hooked: HookedSession | None = None
        self.identify, self.beat = self._identify, self._beat
        if hooks is not None and HookedSession.wanted(hooks):
            self._hooked = HookedSession(hooks, shard=shard, failed=failed)
            if IDENTIFY in hooks:
                self.identify = self._identify_by_hook
            if HEARTBEAT in hooks:
                self.beat = self._beat_by_hook

    def end(self) -> None:
        """The shard stops, and its hooks with it."""
        if self._hooked is not None:
            self._hooked.end()

    def send(self, payload: bytes) -> None:
        """To the connection that there is now, if there is one."""
        connection = self._connection()
        if connection is not None:
            connection.send(payload)

    def resume(self, session_id: str, sequence: int) -> None:
        self._log("resuming", shard=self._id, session=session_id, sequence=sequence)
        self.send(payloads.resume(token=self._token(), session_id=session_id, sequence=sequence))

    def _beat(self, sequence: int | None) -> None:
        self.send(payloads.heartbeat(sequence))

    def _beat_by_hook(self, sequence: int | None) -> None:
        connection = self._connection()
        assert self._hooked is not None

        def send() -> None:
            if connection is not None and connection is self._connection():
                connection.send(payloads.heartbeat(sequence))

        self._hooked.heartbeat(sequence, send)

    def _identify_by_hook(self) -> None:
        """The permit was for the connection that there is now, and for no other."""
        options, connection = self._options, self._connection()
        assert self._hooked is not None
        shard, compress = (self._id, options.shard_count), options.compression == PAYLOAD

        def write(payload: bytes) -> None:
            if connection is not None and connection is self._connection() and self._identifying():
                self._meter.identifies += 1
                self._log("identifying", shard=self._id)
                connection.send(payload)
                self._identified()

        self._hooked.identify(
            payloads.identify_fields(intents=options.intents, options=options.identify, compress=compress),
            lambda fields: payloads.identify_of(fields, token=self._token(), shard=shard, compress=compress),
            write,
        )

    def _identify(self) -> None:
        options = self._options
        self._meter.identifies += 1
        self._log("identifying", shard=self._id)
        self.send(
            payloads.identify(
                token=self._token(),
                shard=self._id,
                shard_count=options.shard_count,
                intents=options.intents,
                options=options.identify,
                compress=options.compression == PAYLOAD,
            )
        )
        self._identified()
