"""The commands, one file each: they read arguments and show results, and decide nothing."""
