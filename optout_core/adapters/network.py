"""The way to ACS: the proxy and the certificates that the environment names, checked before the first message."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from optout_core.errors import SettingsError

#: The first that is set counts; the lower-case names are the older ones (https://curl.se/docs/manpage.html#ENVIRONMENT).
_PROXIES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
_NO_PROXIES = ("no_proxy", "NO_PROXY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How a host is reached.

    Attributes:
        proxy: The address of an HTTP proxy, or None.
        tls: Which certificates are trusted, or None where there is no TLS.
    """

    proxy: str | None = None
    tls: ssl.SSLContext | None = None

    @classmethod
    def to(cls, url: str, environ: Mapping[str, str]) -> Self:
        """Read from the environment how an origin is reached.

        Raises:
            SettingsError: A variable that counts here is wrong; the text names it.
        """
        origin = urlsplit(url)
        if origin.scheme != "https":
            # Plain http is for this machine only (settings.py), and no proxy leads here.
            return cls()
        return cls(proxy=_proxy(origin.hostname or "", environ), tls=_tls(environ))


def _proxy(host: str, environ: Mapping[str, str]) -> str | None:
    name = next((name for name in _PROXIES if environ.get(name)), None)
    if name is None or _is_reached_directly(host, environ):
        return None
    address = environ[name] if "//" in environ[name] else f"http://{environ[name]}"
    try:
        parts = urlsplit(address)
        is_right = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right:
        # Its value may hold a password.
        raise SettingsError(f"{name} must be http://HOST:PORT, an HTTP proxy, or NO_PROXY must name the host of ACS")
    return address


def _is_reached_directly(host: str, environ: Mapping[str, str]) -> bool:
    listed = next((environ[name] for name in _NO_PROXIES if environ.get(name)), "")
    domains = [domain.strip().lstrip(".").lower() for domain in listed.split(",") if domain.strip()]
    return any(domain in ("*", host) or host.endswith(f".{domain}") for domain in domains)


def _tls(environ: Mapping[str, str]) -> ssl.SSLContext:
    file, folder = environ.get("SSL_CERT_FILE"), environ.get("SSL_CERT_DIR")
    if folder and not Path(folder).is_dir():
        raise SettingsError("SSL_CERT_DIR must be a folder of certificates that the function can read")
    try:
        return ssl.create_default_context(cafile=file or None, capath=folder or None)
    except (OSError, ssl.SSLError):
        raise SettingsError(
            "SSL_CERT_FILE must be a file of certificates, in PEM, that the function can read"
        ) from None
