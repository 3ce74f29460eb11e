"""The memory that work takes, measured and kept within a limit."""
