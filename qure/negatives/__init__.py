"""Hard negatives: relevance, ranking, the drops between which they lie, draws from them, and when to mine again."""
