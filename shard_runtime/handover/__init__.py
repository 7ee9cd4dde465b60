"""From one generation to the next: what each side records of a guild's stream, and how the new side finds its place.

Pure: moments and answers come in, decisions go out. Nothing here knows a clock, a socket or a task.
"""
