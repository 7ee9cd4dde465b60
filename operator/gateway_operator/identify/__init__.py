"""The identify gate: who may send an IDENTIFY, and when."""
