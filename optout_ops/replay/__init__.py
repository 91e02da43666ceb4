"""A replay: chosen, shown, carried out, looked after, written down."""
