"""One phone number, disguised in every way in which people and programs write one into a text."""

import re

#: What nobody may find: the number without its country.
DIGITS = "5552345678"

DISGUISES = {
    "E.164": "+15552345678",
    "no plus": "15552345678",
    "dashes": "1-555-234-5678",
    "a national number": "555-234-5678",
    "brackets": "+1 (555) 234-5678",
    "dots": "1.555.234.5678",
    "underscores": "1_555_234_5678",
    "no-break blanks": "+1\u00a0555\u00a0234\u00a05678",
    "right-to-left marks": "\u200f+1\u200f555\u200f2345678",
    "soft hyphens": "1\u00ad555\u00ad234\u00ad5678",
    "joiners": "1\u2060555\u2060234\u20605678",
    "no-break hyphens": "1\u2011555\u2011234\u20115678",
    "full-width digits": "\uff0b\uff11\uff15\uff15\uff15\uff12\uff13\uff14\uff15\uff16\uff17\uff18",
    "Arabic-Indic digits": "\u0661\u0665\u0665\u0665\u0662\u0663\u0664\u0665\u0666\u0667\u0668",
    "superscript digits": "\u00b9\u2075\u2075\u2075\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078",
    "an id with a number": "cust_15552345678",
    "an id with a number and more": "optin15552345678b",
    "an email address": "15552345678@sms.example",
    "a web address": "https://shop.example/c/15552345678?to=%2B15552345678",
    "percent-encoded": "%2B1%20555%20234%205678",
    "JSON-escaped": "\\u002B15552345678",
    "two of them": "15552345678,15552345678",
    "line breaks": "1555\n234\r\n5678",
    "control characters": "1\x1b555\x07234\x9b5678",
    "a sentence": "The customer with the number 15552345678 pressed the button",
    "long before it": "x" * 900 + "15552345678",
}


def digits(text):
    """Give the digits of a text, of any script, as ASCII, and `|` for what cannot stand between two of one number."""
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)
    kept = (str(int(each)) if each.isdecimal() else "|" if each.isalpha() or each == "•" else "" for each in text)
    return "".join(kept)
