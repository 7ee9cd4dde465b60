"""The loop that keeps one gateway as its spec wants it: observe, plan, apply, write status, wait."""
