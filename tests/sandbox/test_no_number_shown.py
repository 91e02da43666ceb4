"""No phone number in what the sandbox prints, unless --reveal asks for it, whatever it was disguised as."""

from tests.build import bare, canonical, text_message
from tests.disguises import DIGITS, DISGUISES, digits


def events():
    """One event for each disguise, with the disguise wherever text from outside can stand; some are no events."""
    for name, disguise in DISGUISES.items():
        consent = {"reference": disguise, "method": disguise}
        data = bare(disguise) | {"consent": consent}
        yield canonical(id=f"{name} {disguise}", source=f"urn:{disguise}", data=data, time="2026-11-01T00:00:00Z")
        yield text_message("STOP", person=disguise, id=f"text {disguise}")
        yield canonical(id=disguise, type=f"sms.{disguise}")


def test_the_report_for_people_shows_no_number(sandbox, write):
    ran = sandbox("--events", write("disguised.jsonl", *events()))

    assert "dead-lettered" in ran.out
    assert [line for line in (ran.out + ran.err).splitlines() if DIGITS in digits(line)] == []


def test_the_report_for_programs_shows_no_number(sandbox, write):
    ran = sandbox("--json", "--events", write("disguised.jsonl", *events()))

    assert ran.report["dead_letters"]
    assert [line for line in (ran.out + ran.err).splitlines() if DIGITS in digits(line)] == []
