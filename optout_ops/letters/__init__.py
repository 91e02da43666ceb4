"""Dead letters: read, filtered, judged, counted, archived. Pure."""
