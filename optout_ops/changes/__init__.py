"""What changes the queues besides a replay: purge, edit, import, and the sending of events."""
