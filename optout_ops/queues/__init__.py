"""The two queues: peeked, locked, settled, sent to."""
