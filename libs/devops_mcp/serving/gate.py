"""The connections of one server: how many, and how long each may take over what it is doing."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from devops_mcp.resilience.watch import Watch
from devops_mcp.serving.limits import Limits


class Connection(Protocol):
    """What the gate knows of an HTTP connection or a WebSocket."""

    def abort(self) -> None:
        """Cut the connection now."""

    def give_up(self) -> None:
        """End a connection whose client does not read what is sent."""

    def receive_expired(self) -> bool:
        """End a request or message that takes too long to come; True where it may go on."""
        ...


class Gate:
    """Watches every connection of a server; `count` hears why one was refused or cut."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits, count: Callable[[str], None]) -> None:
        self.limits = limits
        self.count = count
        self.receiving: Watch[Connection] = Watch(loop, limits.receive_timeout_s, self._late)
        self.messages: Watch[Connection] = Watch(loop, limits.websocket_message_timeout_s, self._late)
        self.idle: Watch[Connection] = Watch(loop, limits.keep_alive_s, self._abort)
        self.stalled: Watch[Connection] = Watch(loop, limits.stalled_s, self._stalled)
        self.closing: Watch[Connection] = Watch(loop, limits.linger_s, self._abort)

    def make_room(self, open_connections: int) -> None:
        """Let a newcomer in: at the limit the connection that has waited longest without a request under way must go.

        Were newcomers turned away instead, as many silent connections as the limit would lock everybody out.
        """
        if open_connections <= self.limits.connections:
            return
        oldest = self.closing.pop_oldest() or self.receiving.pop_oldest() or self.idle.pop_oldest()
        if oldest is not None:
            self.count("crowded_out")
            oldest.abort()

    def forget(self, connection: Connection) -> None:
        for watch in (self.receiving, self.messages, self.idle, self.stalled, self.closing):
            watch.discard(connection)

    def close(self) -> None:
        for watch in (self.receiving, self.messages, self.idle, self.stalled, self.closing):
            watch.close()

    def _late(self, connection: Connection) -> bool:
        if connection.receive_expired():
            return True
        self.count("late")
        return False

    def _stalled(self, connection: Connection) -> bool:
        self.count("stalled")
        connection.give_up()
        return False

    def _abort(self, connection: Connection) -> bool:
        connection.abort()
        return False
