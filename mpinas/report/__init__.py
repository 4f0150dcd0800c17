"""What people look at: tables of a run, read from its directory, never from the live search."""
