"""One websocket of picows behind the port.

picows hands over frames, not messages, and leaves the closing handshake to us; both are done here. Close codes are
Discord's and outside picows' enum, so they are read from the frame's bytes.

What one read brings is handed on at once, since a call for each message costs more than most of what is done with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Final, cast
from urllib.parse import urlsplit

from picows import WSCloseCode, WSError, WSFrame, WSInvalidURL, WSListener, WSMsgType, WSTransport, ws_connect

from shard_runtime.connection.breath import Breath
from shard_runtime.connection.reads import BUFFER_BYTES, TURN_MESSAGES, BoundedReads
from shard_runtime.ports import FrameListener, NetworkError

LONGEST_MESSAGE: Final = 128 << 20
"""Bytes. A READY or GUILD_CREATE has megabytes; this only bounds what a broken peer can make us hold."""

LONGEST_CONTROL: Final = 125
"""Bytes of a control frame's payload. RFC 6455, 5.5"""

CLOSE_SECONDS: Final = 2.0
"""How long a connection that was closed politely may take before it is dropped."""

SESSION_ENDING_CODES: Final = frozenset({1000, 1001})
ANSWER_CODE: Final = 4000
"""Our answer to a close with 1000 or 1001: echoing those, as is usual, could count as our ending the session."""

MESSAGE_TOO_BIG: Final = 1009

_TEXT: Final = WSMsgType.TEXT
_BINARY: Final = WSMsgType.BINARY
_CONTINUATION: Final = WSMsgType.CONTINUATION
_CLOSE: Final = WSMsgType.CLOSE
_PING: Final = WSMsgType.PING


async def open_websocket(
    url: str,
    listener: FrameListener,
    *,
    timeout: float,
    context: ssl.SSLContext | None,
    user_agent: str,
    breath: Breath,
) -> PicowsWebSocket:
    """Connect to *url* (``ws`` or ``wss``). Raises :class:`~shard_runtime.ports.NetworkError`.

    Frames and even the end may reach *listener* before this returns.
    """
    host = urlsplit(url).netloc.rpartition("@")[2]
    socket = PicowsWebSocket(listener, breath)
    try:
        async with asyncio.timeout(timeout):
            await ws_connect(
                lambda: socket,
                url,
                ssl_context=context,
                websocket_handshake_timeout=timeout,
                max_frame_size=LONGEST_MESSAGE,
                max_redirects=0,
                logger_name="websocket",
                read_buffer_init_size=BUFFER_BYTES,
                enable_auto_pong=False,
                use_aiofastnet=False,
                extra_headers={"User-Agent": user_agent},
            )
    except asyncio.CancelledError:
        socket.abort()
        raise
    except (OSError, WSError, WSInvalidURL) as error:
        socket.abort()
        raise NetworkError(f"{host}: {_sentence(error, timeout)}") from None
    if not socket.opened:
        raise NetworkError(f"{host}: the connection dropped during the websocket handshake")
    return socket


def _sentence(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no websocket within {timeout:g} s"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return f"{type(error).__name__}: {error}"


class PicowsWebSocket(WSListener):
    """Both picows' listener and our :class:`~shard_runtime.ports.WebSocket`."""

    def __init__(self, listener: FrameListener, breath: Breath) -> None:
        self._listener = listener
        self._breath = breath
        self._transport: WSTransport | None = None
        self._reads: BoundedReads | None = None
        self._taken = 0
        """Messages since the connection's turn began, apart from those that came alone."""
        self._paused = False
        self._messages: list[bytes] = []
        """Whole messages of the present read."""
        self._parts: list[bytes] = []
        self._parts_size = 0
        self._close_code: int | None = None
        self._close_reason = ""
        self._closing: asyncio.TimerHandle | None = None
        self._farewell: asyncio.Task[None] | None = None

    @property
    def opened(self) -> bool:
        return self._transport is not None

    # --- picows -----------------------------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        below = transport.underlying_transport
        self._reads = BoundedReads(cast(asyncio.BufferedProtocol, below.get_protocol()))
        below.set_protocol(self._reads)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        # To ask for the kind of a frame costs more than its payload does, and no control frame is that long.
        if len(payload) > LONGEST_CONTROL and frame.fin and not self._parts:
            self._messages.append(payload)
        else:
            self._look_at(transport, frame, payload)
        if frame.last_in_buffer:
            self._hand_on()

    def _hand_on(self) -> None:
        messages = self._messages
        if not messages:
            return
        self._messages = []
        self._listener.on_frames(messages)
        count = len(messages)
        self._breath.came(count)
        if count > 1 and self._reads is not None:
            self._reads.suit(count)
            self._taken += count
            if self._taken >= TURN_MESSAGES:
                self._end_turn()

    def _end_turn(self) -> None:
        """Let other connections be read: the loop reads one until it is empty, or 32 times."""
        self._taken = 0
        if not self._paused and self._transport is not None and not self._transport.underlying_transport.is_closing():
            self._transport.underlying_transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._begin_turn)

    def _begin_turn(self) -> None:
        if not self._paused and self._transport is not None and not self._transport.underlying_transport.is_closing():
            self._transport.underlying_transport.resume_reading()

    def _look_at(self, transport: WSTransport, frame: WSFrame, payload: bytes) -> None:
        kind = frame.msg_type
        if kind is _TEXT or kind is _BINARY:
            if frame.fin and not self._parts:
                self._messages.append(payload)
            else:
                self._part(frame.fin, payload)
        elif kind is _CONTINUATION:
            self._part(frame.fin, payload)
        elif kind is _PING:
            # picows would answer by itself, and not tell us when that is the last frame of a read
            if not transport.is_disconnected:
                transport.send_pong(payload)
        elif kind is _CLOSE:
            self._hand_on()
            self._closed_by_peer(transport, payload)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._hand_on()
        if self._closing is not None:
            self._closing.cancel()
        self._farewell = asyncio.get_running_loop().create_task(_farewell(transport), name="websocket farewell")
        self._listener.on_closed(self._close_code, self._close_reason)

    def pause_writing(self) -> None:
        """What we send is small and rare; picows keeps it."""

    def resume_writing(self) -> None:
        pass

    def _part(self, fin: bool, payload: bytes) -> None:
        self._parts.append(payload)
        self._parts_size += len(payload)
        if self._parts_size > LONGEST_MESSAGE:
            self._parts.clear()
            self.close(MESSAGE_TOO_BIG)
        elif fin:
            self._messages.append(b"".join(self._parts))
            self._parts.clear()
            self._parts_size = 0

    def _closed_by_peer(self, transport: WSTransport, payload: bytes) -> None:
        if len(payload) >= 2:
            self._close_code = int.from_bytes(payload[:2], "big")
            self._close_reason = payload[2:].decode(errors="replace")
        if not transport.is_close_frame_sent:
            code = self._close_code
            self._send_close(ANSWER_CODE if code is None or code in SESSION_ENDING_CODES else code)
        transport.disconnect()
        self._drop_later()

    # --- ports.WebSocket --------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_disconnected:
            self._transport.send(_TEXT, data)

    def close(self, code: int) -> None:
        transport = self._transport
        if transport is None or transport.is_disconnected:
            return
        if not transport.is_close_frame_sent:
            self._send_close(code)
        self._drop_later()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    def pause_reading(self) -> None:
        self._paused = True
        if self._transport is not None and not self._transport.is_disconnected:
            self._transport.underlying_transport.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        if self._transport is not None and not self._transport.is_disconnected:
            self._transport.underlying_transport.resume_reading()

    @property
    def received_bytes(self) -> int:
        return 0 if self._reads is None else self._reads.received

    def give_back_memory(self) -> None:
        """What reading has taken and does not need at the moment."""
        if self._reads is not None and self._transport is not None and not self._transport.is_disconnected:
            self._reads.give_back()

    def _send_close(self, code: int) -> None:
        assert self._transport is not None
        # picows takes any number and has no names for Discord's.
        self._transport.send_close(cast(WSCloseCode, code))

    def _drop_later(self) -> None:
        if self._closing is None:
            self._closing = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.abort)


async def _farewell(transport: WSTransport) -> None:
    """Collect the error that picows may have ended the connection for; it has logged it."""
    with contextlib.suppress(Exception):  # whatever a broken peer, or a fault of ours, raised inside picows
        await transport.wait_disconnected()
