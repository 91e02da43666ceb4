"""Everything that can be set, read once from the environment into one frozen value.

A wrong or missing value is refused with its name and what it may be; the value of a secret is never shown.
"""

from base64 import b64decode
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from optout_core.addresses import (
    PostgresAddress,
    SqliteAddress,
    check_connection_string,
    is_loopback,
    namespace_in,
    read_ledger,
    read_origin,
)
from optout_core.consent import OptInRule, OptOutScope
from optout_core.errors import SettingsError
from optout_core.keywords import OPT_IN_KEYWORDS, OPT_OUT_KEYWORDS, Keywords
from optout_core.numbers import Number, read_sender
from optout_core.settlement import JITTER, Schedule

_MAX_RETRIES = 20
#: How long a request may live on after its caller gave up on it: about 100 s of retransmissions on a dead connection
#: (Linux, `tcp_orphan_retries`), and some room (docs/design.md, "Consent").
_LIVES_ON = timedelta(minutes=2)


def _commas(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _senders(value: str) -> frozenset[Number]:
    senders = frozenset(read_sender(part) for part in value.split(",") if part.strip())
    if not senders or not all(sender.is_clear for sender in senders):
        raise ValueError("must hold phone numbers, short codes or sender names, separated by commas")
    return senders


#: Bounded, so that no sum of a date and a delay leaves the calendar.
Seconds = Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=365))]


class Settings(BaseModel):
    """The settings of the function. Durations are ISO 8601, such as PT30S; lists are separated by commas."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, str_strip_whitespace=True)

    acs_endpoint: str = Field(
        alias="ACS_ENDPOINT",
        description="Address of the ACS resource, https://NAME.communication.azure.com; https unless loopback.",
    )
    acs_access_key: SecretStr | None = Field(
        None, alias="ACS_ACCESS_KEY", description="Access key of the ACS resource, base64; empty means Entra ID."
    )
    identity_client_id: str | None = Field(
        None,
        alias="AZURE_CLIENT_ID",
        description="Client id of the user-assigned identity; empty means the default one.",
    )
    connection_string: SecretStr | None = Field(
        None,
        alias="ServiceBusConnection",
        description="Connection string of the namespace; on Azure the next two instead.",
    )
    namespace: str | None = Field(
        None,
        alias="ServiceBusConnection__fullyQualifiedNamespace",
        description="Host name of the namespace, NAME.servicebus.windows.net, reached with Entra ID.",
    )
    namespace_client_id: str | None = Field(
        None,
        alias="ServiceBusConnection__clientId",
        description="Client id of the identity that reaches the namespace; empty means AZURE_CLIENT_ID.",
    )
    opt_in_queue: str = Field("opt-ins", alias="OPT_IN_QUEUE", min_length=1, description="The queue events come from.")
    dead_letter_queue: str = Field(
        "opt-ins-dead-letter", alias="DEAD_LETTER_QUEUE", min_length=1, description="The queue failed recipients go to."
    )
    opt_in_max_age: Seconds = Field(
        timedelta(hours=72),
        alias="OPT_IN_MAX_AGE",
        description="An older opt-in is dead-lettered and not sent: so long may ACS be down without a dead letter.",
    )
    opt_in_keywords: Annotated[frozenset[str], BeforeValidator(_commas)] = Field(
        OPT_IN_KEYWORDS,
        alias="OPT_IN_KEYWORDS",
        min_length=1,
        description="Texts that count as an opt-in, in any case.",
    )
    opt_out_keywords: Annotated[frozenset[str], BeforeValidator(_commas)] = Field(
        OPT_OUT_KEYWORDS,
        alias="OPT_OUT_KEYWORDS",
        description="Texts that count as a STOP beside those of ACS, which always do.",
    )
    opt_out_scope: OptOutScope = Field(
        OptOutScope.SENDER,
        alias="OPT_OUT_SCOPE",
        description="For whose messages a STOP counts: sender, or all of ALLOWED_SENDERS, which must then be set.",
    )
    allowed_senders: Annotated[frozenset[InstanceOf[Number]], BeforeValidator(_senders)] = Field(
        frozenset(), alias="ALLOWED_SENDERS", repr=False, description="The only senders we act for; empty means all."
    )
    consent_ledger: Annotated[PostgresAddress | SqliteAddress | None, BeforeValidator(read_ledger)] = Field(
        None,
        alias="CONSENT_LEDGER",
        description="postgresql://USER@HOST/DATABASE or sqlite:////FILE; empty means that STOPs are not remembered.",
    )
    call_horizon: Seconds = Field(
        timedelta(minutes=5),
        alias="CALL_HORIZON",
        description="How long after a word was taken in a call for it may still act; at least INVOCATION_BUDGET,"
        " HTTP_TIMEOUT and, unless ACS_ENDPOINT is loopback, two minutes.",
    )
    retry_schedule: Annotated[tuple[Seconds, ...], BeforeValidator(_commas)] = Field(
        (
            timedelta(seconds=30),
            timedelta(minutes=2),
            timedelta(minutes=10),
            timedelta(minutes=30),
            timedelta(hours=2),
        ),
        alias="RETRY_SCHEDULE",
        max_length=_MAX_RETRIES,
        description="Delays before each new try of a recipient that failed; one more failure is a dead letter.",
    )
    outage_backoff_first: Seconds = Field(
        timedelta(seconds=30),
        alias="OUTAGE_BACKOFF_FIRST",
        description="Delay when the endpoint itself fails at an event's first try; doubles with each re-send.",
    )
    outage_backoff_max: Seconds = Field(
        timedelta(minutes=15), alias="OUTAGE_BACKOFF_MAX", description="The longest such delay."
    )
    invocation_budget: Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(minutes=2))] = Field(
        timedelta(seconds=60),
        alias="INVOCATION_BUDGET",
        description="How long an invocation may call ACS, at most PT2M; sending may take as long again.",
    )
    http_timeout: Seconds = Field(
        timedelta(seconds=10),
        alias="HTTP_TIMEOUT",
        description="How long one request may take; shorter than INVOCATION_BUDGET.",
    )
    max_concurrent_requests: Annotated[int, Field(ge=1, le=64)] = Field(
        16,
        alias="MAX_CONCURRENT_REQUESTS",
        description="Requests in flight per process, 1 to 64; beyond 16 each costs more CPU.",
    )
    breaker_failures: Annotated[int, Field(ge=1, le=1000)] = Field(
        5, alias="BREAKER_FAILURES", description="Failed requests in a row after which we stop calling, 1 to 1000."
    )
    breaker_cooldown: Seconds = Field(
        timedelta(seconds=30), alias="BREAKER_COOLDOWN", description="How long we then wait before we try again."
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings from environment variables; an empty value counts as absent.

        Raises:
            SettingsError: One or more are missing or wrong; the text names each and says what it may be.
        """
        names = {field.alias for field in cls.model_fields.values()}
        present = {name: value for name, value in environ.items() if name in names and value.strip()}
        try:
            return cls.model_validate(present)
        except ValidationError as error:
            problems = error.errors(include_input=False, include_url=False)
            raise SettingsError(
                "; ".join(_explain(problem["loc"], problem["type"], problem["msg"]) for problem in problems)
            ) from None

    @property
    def namespace_host(self) -> str:
        """Name the namespace by its host and, where it has one, its port."""
        if self.connection_string is None:
            return (self.namespace or "").lower()
        return namespace_in(self.connection_string.get_secret_value())

    @property
    def keywords(self) -> Keywords:
        """Give the texts that are a STOP or an opt-in.

        Without a ledger none is an opt-in: ACS lifts its own entry for a START, and the order in which texts are
        delivered is not promised (docs/facts/acs-optouts.md, "Event schemas").
        """
        return Keywords(self.opt_in_keywords if self.consent_ledger else frozenset(), self.opt_out_keywords)

    @property
    def rule(self) -> OptInRule:
        """Give what an opt-in has to satisfy."""
        return OptInRule(self.opt_in_max_age, self.allowed_senders, self.opt_out_scope)

    @property
    def schedule(self) -> Schedule:
        """Give the delays before the next try."""
        return Schedule(self.retry_schedule, self.outage_backoff_first, self.outage_backoff_max)

    @field_validator("acs_endpoint")
    @classmethod
    def _is_an_origin(cls, value: str) -> str:
        return read_origin(value)

    @field_validator("opt_in_keywords", "opt_out_keywords")
    @classmethod
    def _are_words(cls, value: frozenset[str]) -> frozenset[str]:
        if not all(any(map(str.isalnum, keyword)) for keyword in value):
            raise ValueError("must hold words, separated by commas")
        return value

    @field_validator("acs_access_key")
    @classmethod
    def _is_base64(cls, value: SecretStr | None) -> SecretStr | None:
        try:
            b64decode(value.get_secret_value() if value else "", validate=True)
        except ValueError:
            raise ValueError("must be base64, as the portal shows it") from None
        return value

    @field_validator("connection_string")
    @classmethod
    def _names_a_namespace(cls, value: SecretStr) -> SecretStr:
        # Absent is not validated, and an empty variable counts as absent.
        check_connection_string(value.get_secret_value())
        return value

    @field_validator("opt_in_keywords")
    @classmethod
    def _are_no_stops(cls, value: frozenset[str]) -> frozenset[str]:
        if any(map(Keywords(opt_outs=frozenset()).mean_stop, value)):
            raise ValueError("must not hold a word that means STOP")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> "Settings":
        if (self.connection_string is None) == (self.namespace is None):
            raise ValueError("set either ServiceBusConnection or ServiceBusConnection__fullyQualifiedNamespace")
        # Service Bus does not tell them apart by case.
        if self.opt_in_queue.casefold() == self.dead_letter_queue.casefold():
            raise ValueError("OPT_IN_QUEUE and DEAD_LETTER_QUEUE must differ")
        if any(map(Keywords(opt_outs=self.opt_out_keywords).mean_stop, self.opt_in_keywords)):
            raise ValueError("OPT_IN_KEYWORDS and OPT_OUT_KEYWORDS must not have a word in common")
        if self.opt_out_scope is OptOutScope.ALL and not self.allowed_senders:
            raise ValueError("OPT_OUT_SCOPE=all needs ALLOWED_SENDERS: a STOP counts for each of them")
        if self.http_timeout >= self.invocation_budget:
            # A hanging endpoint would end every invocation before a request could count as failed.
            raise ValueError("HTTP_TIMEOUT must be shorter than INVOCATION_BUDGET")
        # On this machine a request cannot live on after its caller; elsewhere a dead connection may still deliver it.
        lives_on = timedelta(0) if is_loopback(self.acs_endpoint) else _LIVES_ON
        if self.call_horizon < self.invocation_budget + self.http_timeout + lives_on:
            raise ValueError("CALL_HORIZON must be at least INVOCATION_BUDGET and HTTP_TIMEOUT and PT2M together")
        if sum(self.retry_schedule, timedelta()) * (1 + JITTER) >= self.opt_in_max_age:
            # The last retries would end as too old, which says less than what ACS said.
            raise ValueError("RETRY_SCHEDULE, a fifth longer for jitter, must be shorter in all than OPT_IN_MAX_AGE")
        return self


_PLAIN = {
    "missing": "is missing",
    "time_delta_parsing": "must be a duration such as PT30S",
    "int_parsing": "must be a whole number",
    "too_short": "must hold at least one value",
    "too_long": f"must hold at most {_MAX_RETRIES} values",
}


def _explain(location: tuple[int | str, ...], kind: str, problem: str) -> str:
    name = str(location[0]) if location else ""
    field = next((field for field in Settings.model_fields.values() if field.alias == name), None)
    text = _PLAIN.get(kind, problem.removeprefix("Value error, ").replace("Input should be", "must be"))
    return f"{name} {text} ({field.description})" if field else text
