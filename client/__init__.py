"""The hospital: slides, samples, model and experts, training, and the agent that holds them together."""
