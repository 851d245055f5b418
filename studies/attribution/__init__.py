"""What pixels contribute to an output: methods, how faithful they are, and how they are drawn."""
