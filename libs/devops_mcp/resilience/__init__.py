"""Policies that stand between us and what may fail: each is given the clock and randomness, and shows its state in `snapshot()`."""
