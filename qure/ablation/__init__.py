"""The ablation: every way to choose negatives, under one budget, on several seeds (figure 4 of the paper)."""
