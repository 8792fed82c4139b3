"""Faults for the whole system, and the proof that it bears them."""
