"""Live streams that would keep the encoder's states of past steps."""
