"""tooltune inside other people's training loops."""
