"""The operators' command line: see, understand and replay dead letters.

Pure, and all that is decided is decided here: `dead_letters`, `filters`, `verdicts`, `plans`, `replays`, `ramps`,
`tallies`, `runs`, `summaries`, `publications`, `archive`, `checks`, `findings`. The seams: `replaying`, a replay from
top to bottom with its parts as protocols, and `orders`, which puts the real parts in. I/O that decides nothing:
`queues`, `taking`, `namespace`, `watching`, `pacing`, `audit`, `acs`, `machine`. `cli` reads arguments and
shows results. docs/operate.md is for those who use it.
"""
