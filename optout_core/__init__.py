"""The opt-in side of SMS consent on Azure Communication Services.

Read in this order: `reasons`, `errors`, `events`, `batches`, `api`, `consent`, `settlement`, `messages`, then
`processor`, which is the whole job on one screen. Those are pure. `auth`, `client`, `outbox` and `metrics` do the
I/O; `wiring` puts them together.
"""
