"""The operators' command line: see, understand and replay dead letters. docs/operate.md is for those who use it.

The rooms, each of which imports only rooms above it:

- `queues`: the two queues of a namespace; knows nothing of what the messages mean.
- `letters`: dead letters read, searched, judged, described, archived, and the messages that replace them.
- `replay`, `changes`, `health`: what an operator does.
- `report`: a page of all that for the incident.
- `cli`: one file for each command, which reads arguments and shows results.
"""
