"""The folder of a run: its config, what it was started on, and whether it may go on."""
