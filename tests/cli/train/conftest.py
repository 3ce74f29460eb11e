"""Training commands at toy size."""

from ...training.conftest import one_thread as one_thread  # a fixture for every test here
