"""The way to ACS: proxies and certificates of the environment, wrong ones named before the first message."""

import ssl

import pytest

from optout_core.adapters.http import HttpEndpoint, unsigned
from optout_core.adapters.network import Network
from optout_core.errors import EndpointUnavailable, SettingsError
from tests.adapters.acs_client import RawServer

ACS = "https://contoso.communication.azure.com"


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"https_proxy": "http://older:1", "HTTPS_PROXY": "http://proxy:3128"}, "http://older:1"),
        ({"ALL_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": "proxy:3128"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://[::1]:3128"}, "http://[::1]:3128"),
        ({"HTTP_PROXY": "http://proxy:3128"}, None),
        ({"HTTPS_PROXY": ""}, None),
        *(
            ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": names}, None)
            for names in ("*", "azure.com", ".azure.com", "localhost, contoso.communication.azure.com")
        ),
        *(
            ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": names}, "http://proxy:3128")
            for names in ("localhost,::1,[::1]", "::/0", "fd00::/8", "[::1", "zure.com", "contoso", ",", "10.0.0.0/8")
        ),
    ],
    ids=str,
)
def test_a_proxy_is_read_from_the_environment(environ, proxy):
    assert Network.to(ACS, environ).proxy == proxy


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize(
    "value",
    [
        "socks5://user:secret@127.0.0.1:1080",
        "socks4://p:1080",
        "http://proxy:port",
        "ftp://p:1",
        "http://",
        "http://[::1",
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_and_its_password_is_not(name, value):
    with pytest.raises(SettingsError, match=f"{name} must be http://HOST:PORT") as raised:
        Network.to(ACS, {name: value})

    assert "secret" not in str(raised.value)


def test_a_wrong_proxy_that_does_not_lead_to_acs_is_nobodys_business():
    assert Network.to(ACS, {"ALL_PROXY": "socks5://p:1", "NO_PROXY": "azure.com"}).proxy is None
    assert Network.to("http://127.0.0.1:1", {"HTTPS_PROXY": "socks5://p:1", "SSL_CERT_FILE": "/none"}) == Network()


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_of_certificates_that_cannot_be_used_is_named(tmp_path, content):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)

    with pytest.raises(SettingsError, match="SSL_CERT_FILE must be a file of certificates"):
        Network.to(ACS, {"SSL_CERT_FILE": str(file)})


def test_a_folder_of_certificates_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match="SSL_CERT_DIR must be a folder of certificates"):
        Network.to(ACS, {"SSL_CERT_DIR": str(tmp_path / "none")})


def test_certificates_are_checked(tmp_path):
    for environ in ({}, {"SSL_CERT_DIR": str(tmp_path)}):
        tls = Network.to(ACS, environ).tls
        assert tls is not None
        assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)


async def test_a_request_goes_through_the_proxy():
    async def refuse(_, writer):
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with RawServer(refuse) as proxy:
        environ = {"HTTPS_PROXY": proxy.url}
        async with HttpEndpoint(ACS, unsigned, timeout=5, environ=environ) as acs:
            with pytest.raises(EndpointUnavailable):
                await acs.post("/", b"")

    assert proxy.heads[0].startswith(b"CONNECT contoso.communication.azure.com:443 HTTP/1.1\r\n")
