"""Features of the frozen vision tower: computed once, stored in shards, read by row."""
