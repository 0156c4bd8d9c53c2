"""Plans, proves and launches the training of large language models on real clusters."""

__version__ = "0.1.0"
