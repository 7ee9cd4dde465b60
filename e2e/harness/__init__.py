"""What the end-to-end tests stand on: kubectl, a namespace with simulator and receiver, traces of failures."""
