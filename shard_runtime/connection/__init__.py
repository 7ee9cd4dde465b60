"""The real world behind the ports: websockets, HTTP, TLS, compression, time and chance.

The only package of the runtime that imports picows, aiohttp, zstandard or zlib-ng. Its modules are imported one by one,
so that a process pays only for what it uses.
"""
