"""The commands. They read arguments, call the rest, and show what it gives; they decide nothing."""
