"""The data plane: one pod's shards, their sessions, and the delivery of their events to the bot.

Knows nothing of Kubernetes and holds no credentials for it; started as ``python -m shard_runtime``.
"""
