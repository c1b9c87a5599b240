"""What looks after a run from beside it: requests to stop, and ranks that are dead or hang."""
