"""One trial: the runners, the process a trial runs in, and who watches it."""
