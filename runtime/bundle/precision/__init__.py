"""What an artefact computes in less than float32, and why."""
