"""The frozen base, the experts on it, and what a question looks like to it."""
