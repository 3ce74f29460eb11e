"""Live sound over WebSockets."""
