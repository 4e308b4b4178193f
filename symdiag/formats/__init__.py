"""Checkpoint files → posteriors. One file per container and one per dialect; see docs/ARCHITECTURE.md."""
