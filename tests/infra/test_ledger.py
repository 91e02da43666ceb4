"""The consent ledger: who gets in, what the function may do there, and what is kept."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.infra.commands import run
from tests.infra.compiler import CompilationError
from tests.infra.snapshots import deployment, read
from tests.infra.sources import INFRA

SERVER = "Microsoft.DBforPostgreSQL/flexibleServers"
EVERYTHING, REQUIRED = deployment("everything"), deployment("required")
LEDGER = EVERYTHING.only(SERVER)
SMALL = deployment("smallest")


def test_the_ledger_takes_entra_id_and_no_password():
    assert LEDGER["properties"]["authConfig"] == {
        "activeDirectoryAuth": "Enabled",
        "passwordAuth": "Disabled",
        "tenantId": "00000000-0000-0000-0000-00000000000a",
    }
    assert "administratorLogin" not in LEDGER["properties"]


def test_one_group_administers_it():
    administrator = EVERYTHING.only(f"{SERVER}/administrators")

    assert administrator["name"].endswith("/00000000-0000-0000-0000-0000000000f3")
    assert administrator["properties"]["principalName"] == "ledger administrators"
    assert administrator["properties"]["principalType"] == "Group"


def test_it_speaks_tls_only_and_no_old_one():
    values = {
        each["name"].rpartition("/")[2]: each["properties"]["value"]
        for each in EVERYTHING.of_type(f"{SERVER}/configurations")
    }

    assert values == {"require_secure_transport": "on", "ssl_min_protocol_version": "TLSv1.2"}


def test_inside_the_private_network_nothing_else_reaches_it():
    endpoint = EVERYTHING.only("Microsoft.Network/privateEndpoints", "pep-ledger-")
    (connection,) = endpoint["properties"]["privateLinkServiceConnections"]

    assert LEDGER["properties"]["network"] == {"publicNetworkAccess": "Disabled"}
    assert EVERYTHING.of_type(f"{SERVER}/firewallRules") == []
    assert connection["properties"]["groupIds"] == ["postgresqlServer"]
    assert connection["properties"]["privateLinkServiceId"] == LEDGER["id"]


def test_without_the_private_network_azure_reaches_it_and_nobody_else():
    rule = SMALL.only(f"{SERVER}/firewallRules")

    assert SMALL.only(SERVER)["properties"]["network"] == {"publicNetworkAccess": "Enabled"}
    assert rule["properties"] == {"startIpAddress": "0.0.0.0", "endIpAddress": "0.0.0.0"}  # noqa: S104 - Azure's name for itself


def test_proof_of_consent_is_backed_up_as_long_as_azure_does_it():
    assert LEDGER["properties"]["backup"] == {"backupRetentionDays": 35, "geoRedundantBackup": "Enabled"}
    assert LEDGER["properties"]["storage"]["autoGrow"] == "Enabled"


def test_a_ledger_nobody_chose_anything_for_is_the_smallest_and_still_backed_up():
    server = SMALL.only(SERVER)

    assert server["sku"] == {"name": "Standard_B1ms", "tier": "Burstable"}
    assert server["properties"]["backup"] == {"backupRetentionDays": 35, "geoRedundantBackup": "Disabled"}
    assert server["properties"]["highAvailability"] == {"mode": "Disabled"}


@pytest.mark.parametrize(
    ("size", "tier"), [("Standard_E2ds_v5", "MemoryOptimized"), ("Standard_D4ds_v5", "GeneralPurpose")]
)
def test_the_size_of_the_server_says_its_tier(size, tier, compiler, parameter_file):
    deployed = compiler.snapshot(parameter_file("smallest", f"param ledgerComputeSize = '{size}'"))
    (server,) = [each for each in deployed if each["type"] == SERVER]

    assert server["sku"] == {"name": size, "tier": tier}


def test_a_server_that_may_not_be_there_is_not_looked_for():
    """A resource that exists is read when a deployment begins, and one that does not exist fails it."""
    assert "flexibleServers@2025-08-01' existing = if (hasLedger) {" in (INFRA / "modules/function.bicep").read_text()


def test_the_function_signs_in_under_the_name_of_its_identity_and_checks_the_servers_name():
    setting = EVERYTHING.only("Microsoft.Web/sites/config")["properties"]["CONSENT_LEDGER"]
    identity = EVERYTHING.only("Microsoft.ManagedIdentity/userAssignedIdentities", "id-optin-everything")["name"]

    assert setting.startswith("[format('postgresql://{0}@{1}/{2}?sslmode=verify-full', ")
    assert f", '{identity}', reference('" in setting
    assert f"{LEDGER['name']}', '2025-08-01').fullyQualifiedDomainName, 'consent')]" in setting


def test_without_the_switch_there_is_no_server_and_the_setting_is_empty():
    assert [each["id"] for each in REQUIRED.resources if each["type"].startswith(SERVER)] == []
    assert REQUIRED.only("Microsoft.Web/sites/config")["properties"]["CONSENT_LEDGER"] == ""


def test_production_has_a_ledger_and_a_test_environment_needs_none():
    assert read("prod")["consentLedger"] is True
    assert read("dev").get("consentLedger", False) is False
    assert read("template")["parameters"]["consentLedger"]["defaultValue"] is False


def test_each_part_of_the_server_waits_for_the_one_before():
    graph = read("graph")["ledger"]

    chain = ["database", "administrator", "encryptedOnly", "oldestTls", "azureMayConnect"]
    for before, after in pairwise(chain):
        assert before in graph[after]
    assert "ledger" in read("graph")["main"]["processor"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("param ledgerAdministratorsId = ''", "consentLedger needs ledgerAdministratorsId"),
        ("param ledgerAdministratorsName = ''", "consentLedger needs ledgerAdministratorsId"),
        ("param ledgerComputeSize = 'Standard_B1ms'", "ledgerStandby needs a ledgerComputeSize"),
    ],
)
def test_a_ledger_that_could_not_work_is_refused_with_a_sentence(line, sentence, compiler, parameter_file):
    with pytest.raises(CompilationError, match=sentence):
        compiler.snapshot(parameter_file("everything", line))


def test_a_private_network_without_a_ledger_has_no_endpoint_for_one(compiler, parameter_file):
    deployed = compiler.snapshot(parameter_file("everything", "param consentLedger = false"))

    assert not any("psql-" in each["id"] or "pep-ledger" in each["id"] for each in deployed)


BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
NAME = "id-optin-prod-0123456789abc"


@pytest.fixture(scope="module")
def psql() -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Start a PostgreSQL server of this machine with a ledger-like database; give a way to run psql in it."""
    if not BINARIES or not shutil.which("psql"):
        pytest.skip("no PostgreSQL server on this machine: Debian's package postgresql has one")
    folder = Path(tempfile.mkdtemp(prefix="ledger-"))  # not a folder of pytest: another user has to reach it
    data = folder / "data"
    data.mkdir(mode=0o700)
    other: dict[str, object] = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        other = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        shutil.chown(data, "nobody", "nogroup")
        shutil.chown(folder, "nobody", "nogroup")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    initdb = [BINARIES[-1] / "initdb", "-D", data, "-A", "trust", "-U", "azure_pg_admin", "--no-sync"]
    subprocess.run([*initdb, "--locale=C"], check=True, capture_output=True, cwd=folder, **other)  # type: ignore[call-overload]
    options = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"]
    server = subprocess.Popen(  # type: ignore[call-overload]
        [BINARIES[-1] / "postgres", "-D", data, *options], stderr=subprocess.DEVNULL, cwd=folder, **other
    )

    def ask(*options: str, user: str = "azure_pg_admin", database: str = "postgres"):
        settings = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": user, "PGDATABASE": database}
        return run("psql", "--no-psqlrc", "-qtA", "--set", "ON_ERROR_STOP=1", *options, cwd=folder, environ=settings)

    deadline = time.monotonic() + 30
    while ask("-c", "select 1").returncode and time.monotonic() < deadline:
        time.sleep(0.1)
    try:
        yield ask
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(20)
        shutil.rmtree(folder)


@pytest.fixture
def ledger(psql):
    """Make the database anew, with tables of an owner and a role that may do too much."""
    psql("-c", "drop database if exists consent")
    psql("-c", f'drop role if exists "{NAME}"')
    psql("-c", f'create role "{NAME}" login')
    psql("-c", "create database consent")

    def ask(*options: str, user: str = "azure_pg_admin"):
        return psql(*options, user=user, database="consent")

    return ask


def _with_tables(ledger) -> None:
    made = ledger("-c", "create table consent (key text primary key); create table consent_meta (version int)")
    assert made.returncode == 0, made.stderr


def _grant(ledger):
    return ledger("--set", f"name={NAME}", "--file", str(INFRA / "ledger/grants.sql"))


@pytest.mark.parametrize("times", [1, 2])
def test_the_function_reads_and_writes_rows_and_makes_and_drops_nothing(times, ledger):
    _with_tables(ledger)
    ledger("-c", f'grant create on schema public to "{NAME}"; grant truncate on consent to "{NAME}"')
    for _ in range(times):
        granted = _grant(ledger)
        assert granted.returncode == 0, granted.stderr

    def allowed(statement: str) -> bool:
        return ledger("-c", statement, user=NAME).returncode == 0

    assert allowed("insert into consent values ('a')")
    assert allowed("select * from consent")
    assert allowed("update consent set key = 'b'")
    assert allowed("delete from consent")
    assert allowed("select version from consent_meta")
    for refused in (
        "truncate consent",
        "drop table consent",
        "alter table consent add column more int",
        "create table mine (a int)",
        "create temporary table mine (a int)",
        "create schema mine",
        "update consent_meta set version = 2",
        "create role other",
    ):
        assert not allowed(refused), refused


def test_rights_on_tables_that_are_not_there_yet_are_an_error_that_says_what_to_run(ledger):
    granted = _grant(ledger)

    assert granted.returncode != 0
    assert "run optout consent migrate first" in granted.stderr


def test_rights_that_somebody_may_not_give_are_an_error(ledger):
    _with_tables(ledger)
    ledger("-c", "create role stranger login")

    granted = ledger("--set", f"name={NAME}", "--file", str(INFRA / "ledger/grants.sql"), user="stranger")

    assert granted.returncode != 0


def test_the_command_signs_in_with_a_token_as_the_group_and_verifies_the_server(tmp_path):
    log = tmp_path / "log"
    scripts = {"az": "echo token-of-az", "psql": f'env | grep ^PG >> {log}; echo "$@" >> {log}'}
    for name, script in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LEDGER_ADMINISTRATORS_NAME": "ledger administrators"}

    ran = run(str(INFRA / "ledger-rights"), "h.example", "consent", NAME, "oid", cwd=tmp_path, environ=environment)

    said = log.read_text()
    assert ran.returncode == 0, ran.stderr
    for setting in ("PGHOST=h.example", "PGPASSWORD=token-of-az", "PGSSLMODE=verify-full", "PGSSLROOTCERT=system"):
        assert said.count(setting) == 2, setting
    assert "PGUSER=ledger administrators" in said
    assert said.index("--dbname postgres") < said.index("--file principal.sql") < said.index("--dbname consent")
    assert f"--set name={NAME} --set object_id=oid --set kind=service --file grants.sql" in said


@pytest.mark.parametrize("arguments", [[], ["", "consent", NAME, "oid"]])
def test_the_command_says_how_to_use_it(arguments, tmp_path):
    ran = run(str(INFRA / "ledger-rights"), *arguments, cwd=tmp_path)

    assert ran.returncode == 2
    assert ran.stderr == "usage: infra/ledger-rights HOST DATABASE NAME OBJECT_ID [service|group]\n"
