"""The two queues of a namespace: peeked, locked, sent to. Knows nothing of what the messages mean."""
