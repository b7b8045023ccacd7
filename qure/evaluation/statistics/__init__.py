"""What an evaluation leaves, with intervals, and two evaluations compared."""
