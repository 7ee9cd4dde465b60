"""Where a pod lets hooks in (see docs/handlers.md). Without one, none of this is part of any way.

    context     what every hook gets first
    permits     request_identify
    session     identify, heartbeat
    payloads    handle_payload, between what decides that an event is delivered and the delivery
    lines       log

start_gateway stands in the worker, spawn_shards and create_shard in its shards.
"""
