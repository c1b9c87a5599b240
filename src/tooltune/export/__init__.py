"""From a checkpoint to what others serve: model folders, adapters, GGUF, commands, a self-test."""
