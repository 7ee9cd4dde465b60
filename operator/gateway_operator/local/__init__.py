"""``dgw local``: a manifest runs on this machine as processes, by the very code that runs it on Kubernetes."""
