"""The names of the application properties that we write and read.

They are a contract with operators and tools; docs/events.md lists them.
"""

EVENT_ID = "optout-event-id"
ATTEMPT = "optout-attempt"
HOP = "optout-hop"
ALONE = "optout-alone"
FIRST_ENQUEUED = "optout-first-enqueued"
RECIPIENTS = "optout-recipients"
OF = "optout-of"
PART = "optout-part"
PARKED = "optout-parked"
REPLAY_ID = "optout-replay-id"
REPLAY_COUNT = "optout-replay-count"
HTTP_STATUS = "optout-http-status"
ERROR_CODE = "optout-error-code"
MS_CV = "optout-ms-cv"
DEAD_LETTER_REASON = "DeadLetterReason"
DEAD_LETTER_DESCRIPTION = "DeadLetterErrorDescription"
TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
DIAGNOSTIC_ID = "Diagnostic-Id"

#: All of them: who else writes one of these is not believed further than it makes sense.
OURS = frozenset({value for name, value in tuple(globals().items()) if name.isupper()})
