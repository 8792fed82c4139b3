"""Figures, each beside the limit it is held against, measured in the same run.

`make bench` runs all; `python -m benchmarks NAME …` some. None of them is a test.
"""
