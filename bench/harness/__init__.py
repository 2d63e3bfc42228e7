"""Runs the rows of bench/rows for every contender, side by side, and reports. See bench/README.md."""
