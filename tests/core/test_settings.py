"""Settings: what each is when nobody sets it, and what is said of a bad one."""

from base64 import b64encode
from datetime import timedelta

import pytest
from pydantic import ValidationError

from optout_core.addresses import SqliteAddress
from optout_core.consent import OptOutScope
from optout_core.errors import SettingsError
from optout_core.keywords import OPT_IN_KEYWORDS, OPT_OUT_KEYWORDS
from optout_core.numbers import read_sender
from optout_core.settings import Settings
from tests.build import SCHEDULE

KEY = b64encode(b"a secret key").decode()
CONNECTION = "Endpoint=sb://contoso.servicebus.windows.net/;SharedAccessKeyName=k;SharedAccessKey=c2VjcmV0"
LEAST = {"ACS_ENDPOINT": "https://contoso.communication.azure.com", "ServiceBusConnection": CONNECTION}


def read(**environ):
    return Settings.from_environ(LEAST | environ)


def complaint(**environ):
    with pytest.raises(SettingsError) as raised:
        read(**environ)
    return str(raised.value)


def described(name):
    (field,) = (field for field in Settings.model_fields.values() if field.alias == name)
    return field.description


DEFAULTS: dict[str, object] = {
    "consent_ledger": None,
    "call_horizon": timedelta(minutes=5),
    "acs_endpoint": "https://contoso.communication.azure.com",
    "acs_access_key": None,
    "identity_client_id": None,
    "namespace": None,
    "namespace_client_id": None,
    "opt_in_queue": "opt-ins",
    "dead_letter_queue": "opt-ins-dead-letter",
    "opt_in_max_age": timedelta(hours=72),
    "opt_in_keywords": {"START", "UNSTOP"},
    "opt_out_keywords": OPT_OUT_KEYWORDS,
    "opt_out_scope": OptOutScope.SENDER,
    "allowed_senders": frozenset(),
    "retry_schedule": tuple(timedelta(seconds=seconds) for seconds in (30, 120, 600, 1800, 7200)),
    "outage_backoff_first": timedelta(seconds=30),
    "outage_backoff_max": timedelta(minutes=15),
    "invocation_budget": timedelta(seconds=60),
    "http_timeout": timedelta(seconds=10),
    "max_concurrent_requests": 16,
    "breaker_failures": 5,
    "breaker_cooldown": timedelta(seconds=30),
}

#: Somewhere.
LEDGER = "sqlite:////tmp/ledger.db"


def test_what_nobody_sets_has_its_default():
    assert read().model_dump(exclude={"connection_string"}) == DEFAULTS
    assert read().connection_string.get_secret_value() == CONNECTION


@pytest.mark.parametrize("value", ["", " ", "\t\n"])
def test_an_empty_value_counts_as_absent(value):
    optional = {field.alias for field in Settings.model_fields.values()} - LEAST.keys()

    assert read(**dict.fromkeys(optional, value)) == read()


def test_variables_of_others_are_none_of_our_business():
    assert read(PATH="/bin", acs_endpoint="http://evil.example") == read()


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("ACS_ENDPOINT", " https://contoso.communication.azure.com/ ", "acs_endpoint", LEAST["ACS_ENDPOINT"]),
        ("ACS_ENDPOINT", "https://contoso.example:8443", "acs_endpoint", "https://contoso.example:8443"),
        ("ACS_ENDPOINT", "HTTPS://Contoso.example", "acs_endpoint", "HTTPS://Contoso.example"),
        ("ACS_ENDPOINT", "http://127.0.0.1:8080/", "acs_endpoint", "http://127.0.0.1:8080"),
        ("ACS_ENDPOINT", "http://localhost", "acs_endpoint", "http://localhost"),
        ("ACS_ENDPOINT", "http://[::1]:80", "acs_endpoint", "http://[::1]:80"),
        ("AZURE_CLIENT_ID", "c-1", "identity_client_id", "c-1"),
        ("ServiceBusConnection__clientId", "c-2", "namespace_client_id", "c-2"),
        ("OPT_IN_QUEUE", "in", "opt_in_queue", "in"),
        ("DEAD_LETTER_QUEUE", "dead", "dead_letter_queue", "dead"),
        ("OPT_IN_MAX_AGE", "P3DT1S", "opt_in_max_age", timedelta(days=3, seconds=1)),
        ("OPT_IN_MAX_AGE", "P365D", "opt_in_max_age", timedelta(days=365)),
        ("OPT_IN_KEYWORDS", " start, Yes ,,", "opt_in_keywords", {"start", "Yes"}),
        ("OPT_OUT_KEYWORDS", "FORA, Nein danke", "opt_out_keywords", {"FORA", "Nein danke"}),
        ("OPT_OUT_KEYWORDS", ",", "opt_out_keywords", frozenset()),
        ("OPT_OUT_SCOPE", "sender", "opt_out_scope", OptOutScope.SENDER),
        (
            "ALLOWED_SENDERS",
            "+1 (800) 123-4567,Contoso Co-op.,55555",
            "allowed_senders",
            set(map(read_sender, ("+18001234567", "Contoso Co-op.", "55555"))),
        ),
        ("RETRY_SCHEDULE", "PT1S, PT2M", "retry_schedule", (timedelta(seconds=1), timedelta(minutes=2))),
        ("RETRY_SCHEDULE", ",", "retry_schedule", ()),
        ("OUTAGE_BACKOFF_FIRST", "PT0.5S", "outage_backoff_first", timedelta(seconds=0.5)),
        ("OUTAGE_BACKOFF_MAX", "PT1H", "outage_backoff_max", timedelta(hours=1)),
        ("INVOCATION_BUDGET", "PT2M", "invocation_budget", timedelta(minutes=2)),
        ("HTTP_TIMEOUT", "PT59S", "http_timeout", timedelta(seconds=59)),
        ("MAX_CONCURRENT_REQUESTS", "64", "max_concurrent_requests", 64),
        ("BREAKER_FAILURES", "1000", "breaker_failures", 1000),
        ("BREAKER_COOLDOWN", "PT1M", "breaker_cooldown", timedelta(minutes=1)),
    ],
)
def test_a_good_value_is_taken(name, text, field, value):
    assert getattr(read(**{name: text}), field) == value


SECONDS = ["x", "30", "PT0S", "-PT1S", "P366D", "inf"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(
            ("ACS_ENDPOINT", text)
            for text in [
                "contoso.communication.azure.com",
                "http://contoso.communication.azure.com",
                "http://localhost.evil.example",
                "ftp://127.0.0.1",
                "https://",
                "https://contoso.example/path",
                "https://contoso.example/?x=1",
                "https://contoso.example?",
                "https://contoso.example#x",
                "https://user:word@contoso.example",
                "https://:word@contoso.example",
                "https://contoso.example:port",
                "https://contoso.example:65536",
                "https://[::1",
                "https://con toso.example",
            ]
        ),
        ("ACS_ACCESS_KEY", "not base64!"),
        ("ACS_ACCESS_KEY", "abc"),
        ("OPT_IN_KEYWORDS", ","),
        *(
            (name, text)
            for name in ("OPT_IN_KEYWORDS", "OPT_OUT_KEYWORDS")
            for text in ("YES,!!", "\u200b", "\U0001f6d1")
        ),
        ("OPT_OUT_SCOPE", "everybody"),
        *(("ALLOWED_SENDERS", text) for text in (",", " , ", "+18001234567,12", "(),55555")),
        *((name, text) for name in ("OPT_IN_MAX_AGE", "OUTAGE_BACKOFF_FIRST", "RETRY_SCHEDULE") for text in SECONDS),
        *((name, text) for name in ("OUTAGE_BACKOFF_MAX", "BREAKER_COOLDOWN") for text in SECONDS),
        ("RETRY_SCHEDULE", "PT1S,x"),
        ("RETRY_SCHEDULE", ",".join(["PT1S"] * 21)),
        ("INVOCATION_BUDGET", "PT2M1S"),
        ("INVOCATION_BUDGET", "PT0S"),
        ("HTTP_TIMEOUT", "PT0S"),
        *(("MAX_CONCURRENT_REQUESTS", text) for text in ("0", "65", "many")),
        *(("BREAKER_FAILURES", text) for text in ("0", "1001", "many")),
    ],
)
def test_a_bad_value_is_refused_by_name_with_what_is_allowed(name, text):
    said = complaint(**{name: text})

    assert said.startswith(f"{name} must ")
    assert described(name) in said


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("BREAKER_FAILURES", "1001", "BREAKER_FAILURES must be less than or equal to 1000 ("),
        ("BREAKER_FAILURES", "x", "BREAKER_FAILURES must be a whole number ("),
        ("OPT_IN_MAX_AGE", "x", "OPT_IN_MAX_AGE must be a duration such as PT30S ("),
        ("OPT_IN_KEYWORDS", ",", "OPT_IN_KEYWORDS must hold at least one value ("),
        ("RETRY_SCHEDULE", ",".join(["PT1S"] * 21), "RETRY_SCHEDULE must hold at most 20 values ("),
        ("OPT_OUT_SCOPE", "x", "OPT_OUT_SCOPE must be 'sender' or 'all' ("),
        ("OPT_IN_KEYWORDS", "stop", "OPT_IN_KEYWORDS must not hold a word that means STOP ("),
        ("OPT_IN_KEYWORDS", "YES,opt-out", "OPT_IN_KEYWORDS must not hold a word that means STOP ("),
        ("ALLOWED_SENDERS", ",", "ALLOWED_SENDERS must hold phone numbers, short codes or sender names, separated by"),
        ("ACS_ENDPOINT", "http://x", "ACS_ENDPOINT must start with https:// (http:// only for this machine) ("),
        ("ServiceBusConnection", "x", "ServiceBusConnection must be a connection string: Endpoint=sb://...;"),
        *(
            ("ServiceBusConnection", f"Endpoint=sb://{rest}", "ServiceBusConnection must be a connection string")
            for rest in (
                "",
                "contoso.example",
                "contoso.example;SharedAccessKeyName=k",
                "contoso.example;SharedAccessKeyName=k;SharedAccessKey=",
                "con/toso;SharedAccessKeyName=k;SharedAccessKey=c2VjcmV0",
            )
        ),
        (
            "ServiceBusConnection",
            f"{CONNECTION};EntityPath=opt-ins",
            "ServiceBusConnection must be the connection string of the namespace",
        ),
        (
            "ServiceBusConnection",
            f"{CONNECTION};UseDevelopmentEmulator=true;",
            "ServiceBusConnection must not say UseDevelopment",
        ),
        *(
            ("ACS_ENDPOINT", f"https://{host}", "ACS_ENDPOINT must name a host")
            for host in ("300.1.1.1", "1.2.3", "[1]", "..", "a..b", "-a.example", f"{64 * 'a'}.example")
        ),
        ("OPT_IN_MAX_AGE", "PT3H15M", "RETRY_SCHEDULE, a fifth longer for jitter, must be shorter in all than"),
        ("ACS_ENDPOINT", "x", "ACS_ENDPOINT must be https:// and a host, with a port if need be, and nothing else ("),
    ],
)
def test_a_refusal_reads_as_a_sentence(name, text, said):
    assert complaint(**{name: text}).startswith(said)


def test_the_endpoint_is_missing_when_nobody_sets_it():
    with pytest.raises(SettingsError, match=r"^ACS_ENDPOINT is missing"):
        Settings.from_environ({"ServiceBusConnection": CONNECTION})


def test_all_that_is_wrong_is_said_at_once():
    said = complaint(ACS_ENDPOINT="", BREAKER_FAILURES="0", OPT_IN_MAX_AGE="x")

    assert said.startswith("ACS_ENDPOINT is missing (")
    assert "; OPT_IN_MAX_AGE must be a duration such as PT30S (" in said
    assert "; BREAKER_FAILURES must be greater than or equal to 1 (" in said


@pytest.mark.parametrize("namespace", ["contoso.servicebus.windows.net", None])
def test_the_broker_is_named_in_exactly_one_way(namespace):
    environ = LEAST | {"ServiceBusConnection__fullyQualifiedNamespace": namespace or ""}
    if namespace is None:
        environ["ServiceBusConnection"] = ""

    with pytest.raises(SettingsError) as raised:
        Settings.from_environ(environ)

    assert str(raised.value) == "set either ServiceBusConnection or ServiceBusConnection__fullyQualifiedNamespace"


def test_the_broker_may_be_named_by_its_namespace():
    settings = read(ServiceBusConnection="", ServiceBusConnection__fullyQualifiedNamespace="contoso.example")

    assert (settings.connection_string, settings.namespace) == (None, "contoso.example")


def test_the_two_queues_must_differ():
    assert complaint(DEAD_LETTER_QUEUE="opt-ins") == "OPT_IN_QUEUE and DEAD_LETTER_QUEUE must differ"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("OPT_IN_KEYWORDS", "ARRÊT"),
        ("OPT_IN_KEYWORDS", "Arrêter, merci"),
        ("OPT_OUT_KEYWORDS", "ST\u00e1rt"),
        ("OPT_OUT_KEYWORDS", "start"),
    ],
)
def test_no_text_may_mean_both_opt_in_and_stop(name, text):
    assert complaint(**{name: text}) == "OPT_IN_KEYWORDS and OPT_OUT_KEYWORDS must not have a word in common"


def test_a_word_that_is_no_stop_any_more_may_be_an_opt_in():
    assert read(OPT_IN_KEYWORDS="ALTO", OPT_OUT_KEYWORDS="FORA", CONSENT_LEDGER=LEDGER).keywords.mean_opt_in("alto")


def test_a_stop_that_counts_for_all_senders_needs_to_know_them():
    assert complaint(OPT_OUT_SCOPE="all") == "OPT_OUT_SCOPE=all needs ALLOWED_SENDERS: a STOP counts for each of them"
    assert read(OPT_OUT_SCOPE="all", ALLOWED_SENDERS="55555").rule.scope is OptOutScope.ALL


def test_the_keywords_are_those_that_were_set():
    keywords = read(OPT_IN_KEYWORDS="YES", OPT_OUT_KEYWORDS="FORA", CONSENT_LEDGER=LEDGER).keywords

    assert keywords.mean_opt_in("yes")
    assert not keywords.mean_opt_in("START")
    assert keywords.mean_stop("Fora!")
    assert keywords.mean_stop("STOP")
    assert not keywords.mean_stop("arrêt")
    assert read(CONSENT_LEDGER=LEDGER).keywords.opt_ins == OPT_IN_KEYWORDS


def test_without_a_ledger_no_text_is_an_opt_in_since_texts_come_in_any_order():
    assert not read().keywords.mean_opt_in("START")
    assert read().keywords.mean_stop("STOP")


@pytest.mark.parametrize(
    ("written", "user", "has_password", "is_here", "names_root"),
    [
        ("postgresql://optout@name.postgres.example/optout", "optout", False, False, False),
        (
            "postgres://id%40x@h.example:5433/optout?sslmode=verify-full&sslrootcert=/ca.pem",
            "id%40x",
            False,
            False,
            True,
        ),
        ("postgresql://optout:secret@127.0.0.1:5432/optout?sslmode=disable", "optout", True, True, False),
        ("postgresql://optout@[::1]/optout", "optout", False, True, False),
    ],
)
def test_a_ledger_is_reached_with_a_token_unless_its_address_holds_a_password(
    written, user, has_password, is_here, names_root
):
    ledger = read(CONSENT_LEDGER=written).consent_ledger

    assert (ledger.user, ledger.has_password) == (user, has_password)
    assert (ledger.is_here, ledger.names_root) == (is_here, names_root)
    assert ledger.url.get_secret_value() == written
    assert "secret" not in repr(ledger)


def test_a_ledger_may_be_a_file():
    assert read(CONSENT_LEDGER="sqlite:////var/optout.db").consent_ledger == SqliteAddress("/var/optout.db")
    assert read(CONSENT_LEDGER="sqlite:///optout.db").consent_ledger == SqliteAddress("optout.db")


@pytest.mark.parametrize(
    "wrong",
    ["optout.db", "mysql://u@h/d", "postgresql://h/d", "postgresql://u@h", "sqlite://x", "postgresql://u:p:q@h/d"],
)
def test_what_is_no_ledger_is_refused_without_showing_it(wrong):
    assert complaint(CONSENT_LEDGER=wrong).startswith(
        "CONSENT_LEDGER must be postgresql://USER@HOST/DATABASE or sqlite:////FILE ("
    )


@pytest.mark.parametrize("mode", ["disable", "prefer", "require", "verify-ca", ""])
def test_a_ledger_elsewhere_is_known_by_its_certificate(mode):
    said = complaint(CONSENT_LEDGER=f"postgresql://u@h.example/d?sslmode={mode}")

    assert "must not ask for less than sslmode=verify-full" in said


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"CALL_HORIZON": "PT3M9S"}, {"CALL_HORIZON": "PT3M10S"}),
        ({"INVOCATION_BUDGET": "PT2M", "HTTP_TIMEOUT": "PT61S"}, {"INVOCATION_BUDGET": "PT2M", "HTTP_TIMEOUT": "PT1M"}),
        (
            {"ACS_ENDPOINT": "http://localhost:1", "CALL_HORIZON": "PT69S"},
            {"ACS_ENDPOINT": "http://localhost:1", "CALL_HORIZON": "PT70S"},
        ),
    ],
)
def test_a_call_may_act_for_as_long_as_it_can_be_sent_and_live_on(wrong, right):
    assert complaint(**wrong) == "CALL_HORIZON must be at least INVOCATION_BUDGET and HTTP_TIMEOUT and PT2M together"
    assert read(**right).call_horizon >= timedelta(seconds=70)


def test_a_request_must_end_before_the_invocation_does():
    assert complaint(HTTP_TIMEOUT="PT1M") == "HTTP_TIMEOUT must be shorter than INVOCATION_BUDGET"


def test_no_secret_and_no_sender_is_ever_shown():
    settings = read(ACS_ACCESS_KEY=KEY, ALLOWED_SENDERS="+18001234567")
    bad_key = complaint(ACS_ACCESS_KEY="a secret key!")
    both_brokers = complaint(ServiceBusConnection__fullyQualifiedNamespace="x.example", ACS_ACCESS_KEY=KEY)

    shown = f"{settings!r}{settings}{bad_key}{both_brokers}"
    for secret in (KEY, CONNECTION, "c2VjcmV0", "a secret key", "18001234567"):
        assert secret not in shown


def test_a_refusal_shows_no_secret_in_its_traceback_either():
    with pytest.raises(SettingsError) as raised:
        read(ACS_ACCESS_KEY="a secret key!")

    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert "a secret key!" not in str(raised.value.__context__)


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        read().breaker_failures = 4


def test_the_default_schedule_is_the_designed_one():
    assert read().schedule == SCHEDULE


def test_a_key_is_kept_as_it_is():
    assert read(ACS_ACCESS_KEY=KEY).acs_access_key.get_secret_value() == KEY
