"""The page for the incident: one look and the last replays, as a file that anybody can open."""
