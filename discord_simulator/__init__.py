"""A Discord gateway for tests, demos and benchmarks, with the ground truth of what it sent to whom."""
