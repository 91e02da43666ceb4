"""Measures what an opt-in costs, beside the floor and beside the usual ways to write such a function."""
