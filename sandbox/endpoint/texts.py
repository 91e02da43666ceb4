"""What ACS does by itself when a person texts: it keeps the list, and relays the text to nobody here.

Sources: https://learn.microsoft.com/azure/communication-services/concepts/sms/sms-faq (the words), and the page
opt-out-api-concept beside it ("entries added when a recipient sends an opt-out keyword … If a recipient opts back in,
the corresponding entry is deleted"). Which words count depends on the sender and its set-up; here, all of them do.
"""

STOP_WORDS = ("STOP", "QUIT", "END", "REVOKE", "OPT OUT", "CANCEL", "UNSUBSCRIBE")
START_WORDS = ("START", "UNSTOP")


def listed_by(message: str) -> bool | None:
    """Say whether a text puts its sender on the list (True), takes them off it (False) or does neither (None).

    Case, and blanks around and between the words, do not count.
    """
    words = " ".join(message.upper().split())
    if words in STOP_WORDS:
        return True
    return False if words in START_WORDS else None
