"""A small HTTP server over h11 for a pod's own surface; it knows nothing of what it serves."""
