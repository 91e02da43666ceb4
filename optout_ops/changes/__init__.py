"""What changes a queue other than a replay: purge, import, edit, send."""
