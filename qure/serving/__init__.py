"""The model that answers queries: its gallery, how it ranks, and the file that MLflow runs to load it."""
