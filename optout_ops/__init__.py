"""The operators' command line: see, understand and replay dead letters.

One room for each thing an operator does: `letters`, `replay`, `changes`, `queues`, `health`. `cli` reads arguments and
shows results; it decides nothing. docs/operate.md is for those who use it.
"""
