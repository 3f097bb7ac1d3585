"""Whole-slide images: opened without their identifiers, cut at a physical scale."""
