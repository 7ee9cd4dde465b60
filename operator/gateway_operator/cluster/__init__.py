"""Ports to the world that runs generations: a real Kubernetes, or local processes."""
