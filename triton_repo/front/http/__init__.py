"""The front for HTTP: which of Triton's endpoints, which requests, and how they are passed on."""
