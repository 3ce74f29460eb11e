"""The front for gRPC."""
