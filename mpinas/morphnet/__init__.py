"""The shrink: which channels a network needs, and the same network without the others."""
