"""Processes: one of its own for a piece of work, and the memory of this one."""
