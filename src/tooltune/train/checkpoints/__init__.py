"""Checkpoints of a run: what is in one, how it is saved, kept, verified and read again."""
