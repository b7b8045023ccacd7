"""Annotation files as data frames: read so that one bad row does not hide the next."""
