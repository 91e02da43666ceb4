"""Dead letters: read, searched, judged, counted, described, archived, and the messages that replace them."""
