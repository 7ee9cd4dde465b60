"""One process per worker: some of the pod's shards, their delivery, and the handover of their guilds."""
