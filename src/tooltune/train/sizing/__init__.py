"""What a run needs and how fast it goes, told from its config and the shape of its model."""
