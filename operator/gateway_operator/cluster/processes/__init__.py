"""A miniature of Kubernetes on one machine: the same manifests, run as local processes.

For a laptop, for fast tests and for people without a cluster. ``objects`` stands for the API server, ``volumes`` and
``container`` for the kubelet, ``statefulsets`` for the StatefulSet controller; nothing here knows what a shard is.
"""
