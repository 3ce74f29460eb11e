"""The two readers of audio files, and what is looked at before either is trusted."""
