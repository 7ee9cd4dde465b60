"""Discord's gateway protocol without I/O: bytes and moments in, decisions out.

Nothing here imports a socket, a clock or a source of chance; ``now`` (seconds on a monotonic clock) and a
:class:`~shard_runtime.ports.Chance` are arguments. Facts and how sure we are of them: docs/protocol.md.
"""
