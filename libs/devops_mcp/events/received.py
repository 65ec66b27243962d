"""Messages as a queue delivers them. Apart from `sqs`: who only reads them needs no client of AWS, which is slow to import."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

TRACEPARENT = "traceparent"
REASON, MESSAGE_ID, ATTEMPT = "dead_letter_reason", "dead_letter_message_id", "dead_letter_attempt"
"""What a consumer writes on a message that it buries."""


@dataclass(frozen=True, slots=True)
class Epitaph:
    """What a consumer wrote on a message that it buried. `message_id` is the queue's, of the message that died."""

    reason: str
    attempts: int
    message_id: str
    died_at: datetime


@dataclass(frozen=True, slots=True)
class Received:
    """A message in our hands until its visibility timeout ends. `attempt` counts its deliveries from 1."""

    message_id: str
    receipt: str = field(repr=False)
    body: str = field(repr=False)
    attributes: Mapping[str, str]
    attempt: int
    sent_at: datetime
    group: str | None = None
    """Of a FIFO queue's message: others of the same group come in the order in which they were sent."""

    @property
    def traceparent(self) -> str | None:
        """The trace of whoever sent it (W3C Trace Context)."""
        return self.attributes.get(TRACEPARENT)

    @property
    def carrier(self) -> dict[str, str]:
        """The trace's headers, for a propagator."""
        return {TRACEPARENT: self.traceparent} if self.traceparent else {}

    @property
    def epitaph(self) -> Epitaph | None:
        """Of a dead letter that a consumer buried; None of one that the queue itself moved."""
        reason, attempts = self.attributes.get(REASON), self.attributes.get(ATTEMPT, "")
        if reason is None or not attempts.isdecimal():
            return None
        message_id = self.attributes.get(MESSAGE_ID, self.message_id)
        return Epitaph(reason, int(attempts), message_id, self.sent_at)
