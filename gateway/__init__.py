"""Tags, embeddings and tokens over HTTP, from a bundle or from a Triton server."""
