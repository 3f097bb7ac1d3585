"""How hospitals' releases become one expert: pure aggregation, and a thin adapter to Flower."""
