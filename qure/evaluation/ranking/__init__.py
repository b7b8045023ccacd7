"""Embeddings and how a gallery is ranked for queries: what every benchmark's protocol is made of."""
