"""What the webhook translations of code hosts share: a body with where it came from, and one way to tell of pushes, changes and comments.

A vendor's module reads its own body and says what happened; the types, the bounds and the sentences are made here, so that a merge
reads the same whoever hosts the code.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.deliveries import Told, about, text, told
from devops_mcp.adapters.shapes import Shape, first_line, read
from devops_mcp.events.model import ActivityRecorded, ChangeEvent, CodePushed, Event, IssueChanged
from devops_mcp.models.errors import InvalidInput, UpstreamInvalid

MAX_COMMITS = 50
_ZEROS = re.compile(r"0+")
_DELIVERY = re.compile(r"[0-9A-Za-z_-]{1,100}")
_LOOSE_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:\.\d{1,9})?) ?(UTC|Z|[+-]\d\d:?\d\d)", re.ASCII
)

_NEVER = "0001-01-01T"
"""How programs in Go write a time that has not come."""

ChangeType: TypeAlias = Literal["change.opened", "change.updated", "change.merged", "change.closed"]
ShapeT = TypeVar("ShapeT", bound=Shape)


def _time(value: Any) -> Any:
    if not isinstance(value, str):
        return value or None
    if not value or value.startswith(_NEVER):
        return None
    loose = _LOOSE_TIME.fullmatch(value)
    if loose is None:
        return value
    date, clock, offset = loose.groups()
    return f"{date}T{clock}{'Z' if offset == 'UTC' else offset}"


Time = Annotated[datetime | None, BeforeValidator(_time)]
"""A time as code hosts write it: ISO 8601, `2015-05-17 18:08:09 UTC`, seconds or milliseconds since 1970; none where it is empty or 0."""
_TIME: TypeAdapter[datetime | None] = TypeAdapter(Time)


def time_in(value: object) -> datetime | None:
    """`value` as a `Time`; None where it is no time at all, in a body that owes us none."""
    try:
        return _TIME.validate_python(value)
    except ValidationError:
        return None


@dataclass(frozen=True, slots=True)
class Payload:
    """A body that is its event's, with where it came from.

    `subject` is the repository, else whose event it is; `actor` the vendor's login.
    """

    system: str
    event: str
    body: Mapping[str, Any]
    origin: Origin
    delivery: Delivery
    subject: str
    actor: str | None = None

    def part(self, name: str, shape: type[ShapeT]) -> ShapeT:
        """The object under `name`; raises `InvalidInput` when it is not what the event should carry."""
        return shaped(self.event, shape, self.body.get(name), f"body.{name}")

    def whole(self, shape: type[ShapeT]) -> ShapeT:
        """The body itself in this shape."""
        return shaped(self.event, shape, self.body)

    def told(self, title: str, url: str | None = None, at: datetime | None = None) -> Told:
        """What every event tells; a time that the payload lacks is that of its arrival."""
        return told(
            self.system,
            self.delivery,
            self.origin,
            subject=self.subject,
            title=title,
            url=url,
            actor=self.actor,
            at=at,
        )


def shaped(event: str, shape: type[ShapeT], raw: Any, where: str = "body") -> ShapeT:
    """`raw` in this shape; raises `InvalidInput` naming the event and the field."""
    try:
        return read(shape, raw)
    except UpstreamInvalid as error:
        raise InvalidInput(f"the body is not that of a {event!r} event: {where}: {error}") from None


def named(body: Mapping[str, Any], *paths: str) -> str | None:
    """The first of these paths (`project.path_with_namespace`) that leads to a text that is not empty."""
    for path in paths:
        value: Any = body
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, str) and value:
            return value
    return None


def delivery_id(delivery: Delivery, header: str) -> str | None:
    """The vendor's id of the delivery, where the header holds one."""
    value = delivery.headers.get(header, "")
    return value if _DELIVERY.fullmatch(value) else None


def no_commit(commit: str | None) -> bool:
    """Whether this is how a vendor writes that there is no commit: nothing, or zeros only."""
    return not commit or _ZEROS.fullmatch(commit) is not None


def short_ref(ref: str) -> str:
    """The branch's or tag's own name."""
    return ref.removeprefix("refs/heads/").removeprefix("refs/tags/")


def pushed(
    payload: Payload,
    *,
    ref: str,
    commit: str,
    messages: Sequence[str] = (),
    count: int | None = None,
    more: bool = False,
    created: bool = False,
    forced: bool = False,
    url: str | None = None,
    at: datetime | None = None,
) -> Event:
    """Commits reached `ref`, a full one. `messages` are first lines, oldest first.

    Where not all commits are told, `count` is of all, or `more` says that there are some more.
    """
    newest = messages[-1] if messages else ""
    how = "force-pushed" if forced else "pushed"
    where = f"{short_ref(ref)} of {payload.subject}"
    number = len(messages) if count is None else count
    commits = f"{number}{' or more' if more else ''} commit{'' if number == 1 and not more else 's'}"
    title = f"{commits} {how} to {where}{about(newest)}"
    if ref.startswith("refs/tags/"):
        title = f"Tag {short_ref(ref)} {how} to {payload.subject}{about(newest)}"
    elif not number:
        title = f"Branch {short_ref(ref)} {'created in' if created else f'{how} to'} {payload.subject}"
    return CodePushed(
        **payload.told(title, url, at), ref=ref, commit=commit, messages=tuple(messages[-MAX_COMMITS:])
    )


def ref_deleted(payload: Payload, ref: str, *, url: str | None = None, at: datetime | None = None) -> Event:
    """A branch or tag is gone."""
    kind = "Tag" if ref.startswith("refs/tags/") else "Branch"
    title = f"{kind} {short_ref(ref)} deleted in {payload.subject}"
    return ActivityRecorded(**payload.told(title, url, at), vendor_type=payload.event, action="deleted")


def changed(
    payload: Payload,
    *,
    type_: ChangeType,
    happened: str,
    number: int,
    title: str,
    branch: str,
    base: str,
    commit: str,
    body: str = "",
    url: str | None = None,
    at: datetime | None = None,
    words: str = "Pull request #",
) -> Event:
    """Something `happened` to a pull or merge request; `words` come before its number."""
    line = f"{words}{number} {happened} in {payload.subject} ({branch} into {base}){about(title)}"
    return ChangeEvent(
        **payload.told(line, url, at),
        type=type_,
        number=number,
        branch=branch,
        base=base,
        commit=commit,
        body=text(body),
    )


def issue_changed(
    payload: Payload,
    *,
    what: str,
    number: str,
    action: str,
    happened: str,
    title: str,
    state: str | None = None,
    body: str = "",
    url: str | None = None,
    at: datetime | None = None,
) -> Event:
    """Something `happened` to `what` (`Issue #12`); `action` is the vendor's word."""
    line = f"{what} {happened} in {payload.subject}{about(title)}"
    return IssueChanged(
        **payload.told(line, url, at), number=number, action=action, state=state, body=text(body)
    )


def commented(
    payload: Payload,
    *,
    on: str,
    number: str,
    action: str,
    title: str,
    state: str | None = None,
    body: str = "",
    url: str | None = None,
    at: datetime | None = None,
) -> Event:
    """A comment was `action` (`created`) on `on` (`pull request #12`), whose title this is."""
    line = f"Comment {action} by {payload.actor or 'someone'} on {on} of {payload.subject}{about(title)}"
    return IssueChanged(
        **payload.told(line, url, at), number=number, action=f"comment_{action}", state=state, body=text(body)
    )


def activity(
    payload: Payload,
    *,
    words: str | None = None,
    action: str | None = None,
    details: Iterable[str | None] = (),
    url: str | None = None,
    at: datetime | None = None,
) -> Event:
    """Whatever else happened, in one line: `Milestone closed in acme/shop by mona: v1.0`."""
    what = words or re.sub(r"[_:.]", " ", payload.event)
    done = f" {action.replace('_', ' ')}" if action else ""
    by = f" by {payload.actor}" if payload.actor and payload.actor != payload.subject else ""
    more = " ".join(first_line(detail, 120) for detail in details if detail)
    line = f"{what[:1].upper()}{what[1:]}{done} in {payload.subject}{by}{about(more)}"
    return ActivityRecorded(**payload.told(line, url, at), vendor_type=payload.event, action=action)


def seconds_between(began: datetime | None, end: datetime | None) -> float | None:
    """How long a run took; None where either time is missing, or only one of them has an offset."""
    if began is None or end is None or (began.tzinfo is None) is not (end.tzinfo is None):
        return None
    return (end - began).total_seconds()


def ended(conclusion: str | None) -> str:
    """A vendor's word for how a run ended as a verb, so that 'which build failed' finds it."""
    return _ENDED.get((conclusion or "").lower(), f"ended ({conclusion})" if conclusion else "ended")


_ENDED: Mapping[str, str] = {
    "success": "succeeded",
    "successful": "succeeded",
    "failed": "failed",
    "failure": "failed",
    "error": "failed",
    "canceled": "was cancelled",
    "cancelled": "was cancelled",
    "stopped": "was stopped",
    "aborted": "was aborted",
    "skipped": "was skipped",
}
