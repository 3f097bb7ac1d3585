"""The consortium: campaigns and their rounds, who is enrolled, what was committed, and the way to Flower."""
