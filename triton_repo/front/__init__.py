"""What stands between the network and Triton's HTTP and gRPC: limits, checks, tokens, admission."""
