"""Distributed trust: a sum over hospitals that only the sum's noise protects, and that nobody sees apart."""
