"""Which port a program listens on: the wanted one, else one that is free."""

import random
import socket

LOOPBACK = "127.0.0.1"
_QUIET_RANGE = range(20_000, 32_000)
"""Below the ports that systems hand to outgoing connections, so that none of those takes a port between choice and use."""


def is_free(port: int) -> bool:
    """Whether a program could listen on `port` of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port(*, avoid: frozenset[int] = frozenset()) -> int:
    """A port on which nothing listens and that is not in `avoid`."""
    candidates = random.SystemRandom().sample(_QUIET_RANGE, 200)
    for port in candidates:
        if port not in avoid and is_free(port):
            return port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        chosen: int = probe.getsockname()[1]
    return chosen


def choose_ports(wanted: dict[str, int]) -> dict[str, int]:
    """For each name the port it wants, or a free one where that is busy, wanted twice or 0."""
    chosen: dict[str, int] = {}
    for name, port in wanted.items():
        taken = frozenset(chosen.values())
        usable = port != 0 and port not in taken and is_free(port)
        chosen[name] = port if usable else free_port(avoid=taken | frozenset(wanted.values()))
    return chosen
