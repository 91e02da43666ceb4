"""The server's own log, in which no number may stand."""

import logging
import traceback

from aiohttp.http_exceptions import HttpProcessingError

#: Given to aiohttp, which logs requests that are no HTTP and errors of a handler.
server_log = logging.getLogger(__name__)


def _without_what_was_sent(record: logging.LogRecord) -> bool:
    """Log what kind of error it was and where, but not its text: that repeats what a client sent, numbers included."""
    _, error, frames = record.exc_info or (None, None, None)
    if error is not None:
        record.exc_info = None
        record.msg, record.args = f"{record.getMessage()}: {type(error).__name__}", ()
        if not isinstance(error, HttpProcessingError):
            record.stack_info = "".join(traceback.format_tb(frames))
    return True


server_log.addFilter(_without_what_was_sent)
