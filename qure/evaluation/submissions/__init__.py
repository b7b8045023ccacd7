"""Files for the evaluation servers that alone know a split's answers."""
