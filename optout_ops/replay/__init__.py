"""A replay: planned, chosen, driven, watched, and told of later."""
