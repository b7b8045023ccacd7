"""Checks annotations and images before anything is trained on them, and lists every bad row."""
