"""Where trials run: executors, and what a worker's processes may see."""
