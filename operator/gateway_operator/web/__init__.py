"""The operator's HTTP surface: probes and metrics now, the status page later."""
