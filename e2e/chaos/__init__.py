"""Faults of a real machine, one or two at a time, for as long as one likes, under load, judged by ground truth."""
