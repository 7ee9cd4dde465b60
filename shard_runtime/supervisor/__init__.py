"""One process per pod that owns the pod's role and HTTP surface and keeps its workers alive.

It carries no traffic, so it is kept small: no HTTP client, no websockets, no compression, no uvloop.
"""
