"""Addresses of model servers: their two roots, the credentials in them, and whether they are this machine's own."""

import ipaddress
import re
from urllib.parse import unquote, urlsplit

from deeprec.trm_tool.errors import ConfigError


def server_addresses(base_url: str) -> list[str]:
    """List the addresses of servers that stand one after another, with commas between them.

    Raises:
        ConfigError: one is not an address of HTTP, or stands twice.
    """
    addresses = [address.strip() for address in re.split(r",(?=\s*https?://)", base_url)]
    places = [split_base_url(address)[0] for address in addresses]
    if len(set(places)) < len(places):
        twice = next(place for place in places if places.count(place) > 1)
        raise ConfigError(f"The server {twice} stands twice in the list of addresses. Name each once.")
    return addresses


def split_base_url(base_url: str) -> tuple[str, str]:
    """Split an address, with or without `/v1`, into that of the OpenAI routes and that of vLLM's own routes.

    A name and a password in it are left out, so that no log shows them; `credentials_in` reads them.

    Raises:
        ConfigError: it is not an address of HTTP.
    """
    try:
        parts = urlsplit(base_url.strip())
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        is_address = is_address and "://" not in parts.path  # a list of addresses, where one is asked for
    except ValueError:  # a bracket left open, or a port that is not a number below 65536
        is_address = False
    if not is_address:
        raise ConfigError(f"The server's address is {base_url!r}; write it as http://HOST:PORT/v1.")
    place = parts.netloc.rpartition("@")[2]
    root = f"{parts.scheme}://{place}{parts.path}".rstrip("/").removesuffix("/v1")
    return f"{root}/v1", root


def credentials_in(base_url: str) -> tuple[str, str] | None:
    """Read the name and the password of HTTP's basic authentication in an address; None where it has neither."""
    parts = urlsplit(base_url.strip())
    if parts.username is None:
        return None
    return unquote(parts.username), unquote(parts.password or "")


def is_loopback(url: str) -> bool:
    """Whether the address is this machine's own."""
    host = ""
    try:
        host = urlsplit(url).hostname or ""
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
