"""The health of what a replay depends on: opt-out lists, rights, queues, clock."""
