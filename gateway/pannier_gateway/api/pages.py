"""Web pages: one that somebody looks at on this machine must not use the gateway behind their back.

A browser sends what a page asks for to any address, loopback included, and gives it away: `origin`
comes with what a script sends, `sec-fetch-site` with the rest. A page whose own name was pointed at
this machine (DNS rebinding) counts as ours in both, but it is that name that `host` has then.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import ip_address

from aiohttp.hdrs import HOST, ORIGIN

from pannier_gateway.errors import ForeignPage

Hosts = Callable[[str], bool]  # whether a `host` is taken

FETCH_SITE = "sec-fetch-site"
NOBODYS = ("none", "same-origin")  # typed in by a person, or sent by what came from here
HOSTS_REMEMBERED = 64


def any_host(_: str) -> bool:
    """For listeners that other machines reach, by names that only they know."""
    return True


def loopback_hosts(own: str) -> Hosts:
    """For a listener on loopback that was told to listen at `own`."""

    @lru_cache(HOSTS_REMEMBERED)
    def taken(host: str) -> bool:
        name = name_of(host)
        return name == own.lower() or is_out_of_reach(name)

    return taken


def foreign_page(headers: Mapping[str, str], hosts: Hosts) -> ForeignPage | None:
    """Why the sender of these headers is taken for a web page; None if it is not."""
    if ORIGIN in headers:
        return ForeignPage(
            f"origin {headers[ORIGIN]!r}: web pages are not served; a program leaves this header "
            "out, a proxy in front of the gateway removes it"
        )
    site = headers.get(FETCH_SITE, "none")
    if site not in NOBODYS:
        return ForeignPage(f"sec-fetch-site {site!r}: web pages of other sites are not served")
    host = headers.get(HOST, "")
    if not hosts(host):
        return ForeignPage(
            f"host {host!r}: on loopback the gateway is asked for by address, as localhost, or by "
            "a name without dots, so that no web page can point a name of its own at it"
        )
    return None


def name_of(host: str) -> str:
    """The name or address in a `host` header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].removesuffix(".").lower()


def is_out_of_reach(name: str) -> bool:
    """Whether nobody can have this name in the public DNS and point it at another machine."""
    if "." not in name or name.endswith(".localhost"):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
