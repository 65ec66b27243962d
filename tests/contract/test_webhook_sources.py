"""What every source of webhooks owes, whoever wrote it: a new one is covered unasked, and fails without recorded payloads."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, get_args

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from devops_mcp.adapters.base import AnyAdapter, Delivery, Origin, WebhookSource
from devops_mcp.adapters.registry import load_adapters
from devops_mcp.events.model import EVENT, Event
from devops_mcp.models.base import utc_now
from devops_mcp.models.errors import PlatformError, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from devops_mcp.operations.event_texts import event_text
from devops_mcp.operations.events import delivery_keys
from devops_mcp.operations.fact_rules import MAX_KEY, WITHOUT_FACT, facts_of
from support.recorded_webhooks import Recorded, recorded
from support.rest import Rest, a_caller
from support.services import settings_for
from support.sns_topic import SnsStandIn, sns_stand_in
from support.webhook_proofs import Proof, Secret, proofs_of

SOURCES = {name: adapter for name, adapter in load_adapters().items() if adapter.webhooks is not None}
EVERY = [payload for name in SOURCES for payload in recorded(name)]
PROOFS = [
    pytest.param(adapter, proof, id=f"{name}-{proof.name}")
    for name, adapter in SOURCES.items()
    for proof in proofs_of(adapter)
]
TYPES = {
    type_
    for model in get_args(get_args(Event)[0])
    for type_ in get_args(model.model_fields["type"].annotation)
}
NOW = utc_now()

each_source = pytest.mark.parametrize("adapter", SOURCES.values(), ids=SOURCES)
each_proof = pytest.mark.parametrize(("adapter", "proof"), PROOFS)
each_payload = pytest.mark.parametrize(
    "payload", EVERY, ids=lambda payload: f"{payload.system}-{payload.name}"
)
a_few = settings(max_examples=15, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


def source_of(adapter: AnyAdapter) -> WebhookSource:
    assert adapter.webhooks is not None
    return adapter.webhooks


def sent(payload: Recorded, proof: Proof, secret: Secret) -> Delivery:
    """The payload as its sender delivers it."""
    body, headers = proof.prove(payload.body, NOW, secret)
    return Delivery({**payload.fresh_headers(), **headers}, body, NOW)


def passes(adapter: AnyAdapter, delivery: Delivery, *secrets: Secret) -> bool:
    try:
        source_of(adapter).verify(delivery, tuple(secret.held for secret in secrets))
    except Unauthenticated:
        return False
    return True


@each_source
def test_a_source_has_recorded_payloads(adapter: AnyAdapter):
    assert recorded(adapter.name), (
        f"put payloads of {adapter.name} into tests/unit/adapters/{adapter.name}/recorded"
    )


@each_proof
def test_what_was_recorded_passes_by_any_secret_in_force_and_by_no_other(adapter: AnyAdapter, proof: Proof):
    old, new, other = (proof.secret(number) for number in range(3))
    for payload in recorded(adapter.name):
        delivery = sent(payload, proof, old)
        assert passes(adapter, delivery, old)
        if proof.rotates:
            assert passes(adapter, delivery, new, old)
            assert passes(adapter, sent(payload, proof, new), new, old)
            assert not passes(adapter, delivery, new)
            assert not passes(adapter, delivery, new, other)
        assert not passes(adapter, delivery)
        assert not passes(adapter, delivery, Secret(SecretStr("")))


@each_source
def test_a_secret_that_we_make_is_one_that_its_sender_can_prove_itself_by(adapter: AnyAdapter):
    form = source_of(adapter).secrets
    made = Secret(SecretStr(form.make()))
    assert form.fits(made.held.get_secret_value())
    assert form.make() != form.make()
    for proof in proofs_of(adapter):
        if proof.rotates and proof.name != "ed25519":
            assert passes(adapter, sent(recorded(adapter.name)[0], proof, made), made)


def altered_bytes(draw: Any, body: bytes) -> bytes:
    """`body` with a byte changed, left out or put in, or written otherwise."""
    at = draw(st.integers(0, len(body) - 1))
    byte = draw(st.integers(0, 255))
    kinds = {
        "changed": body[:at] + bytes([byte]) + body[at + 1 :],
        "left out": body[:at] + body[at + 1 :],
        "put in": body[:at] + bytes([byte]) + body[at:],
        "cut": body[:at],
        "BOM": b"\xef\xbb\xbf" + body,
        "spaced": body + b" ",
        "led": b"17" + body,
    }
    return kinds[draw(st.sampled_from(sorted(kinds)))]


@each_proof
@a_few
@given(data=st.data())
def test_no_byte_of_a_signed_body_can_change(adapter: AnyAdapter, proof: Proof, data: st.DataObject):
    """W02"""
    if not proof.covered:
        return
    secret = proof.secret(1)
    delivery = sent(data.draw(st.sampled_from(recorded(adapter.name))), proof, secret)
    altered = altered_bytes(data.draw, delivery.body)
    if proof.content(altered) != proof.content(delivery.body):
        assert not passes(adapter, Delivery(delivery.headers, altered, NOW), secret)


def altered_text(draw: Any, value: str, *, listed: bool) -> str | None:
    """`value` with a character changed or left out, cut, grown, doubled as two headers are, or no longer there (None)."""
    at = draw(st.integers(0, len(value) - 1))
    character = draw(st.characters(max_codepoint=255, exclude_characters=value[at]))
    kinds: dict[str, str | None] = {
        "changed": value[:at] + character + value[at + 1 :],
        "left out": value[:at] + value[at + 1 :],
        "cut": value[:at],
        "gone": None,
        "upper": value.upper() if value.upper() != value else value[:-1],
        "not ASCII": "é" * len(value),
        "empty": "",
    }
    if not listed:  # where a header may carry several proofs, what is beside a right one does not count
        kinds |= {"grown": value + character, "led": character + value, "doubled": f"{value}, {value}"}
    return kinds[draw(st.sampled_from(sorted(kinds)))]


@each_proof
@a_few
@given(data=st.data())
def test_no_character_of_a_header_that_proves_or_is_signed_can_change(
    adapter: AnyAdapter, proof: Proof, data: st.DataObject
):
    """W01"""
    secret = proof.secret(1)
    delivery = sent(recorded(adapter.name)[0], proof, secret)
    _, of_proof = proof.prove(delivery.body, NOW, secret)
    if not of_proof:
        return
    header = data.draw(st.sampled_from(sorted(of_proof)))
    altered = altered_text(data.draw, of_proof[header], listed=header in proof.listed)
    headers = {name: value for name, value in delivery.headers.items() if name != header}
    if altered is not None:
        headers[header] = altered
    assert not passes(adapter, Delivery(headers, delivery.body, NOW), secret)


@each_proof
def test_what_is_signed_can_be_read_in_one_way_only(adapter: AnyAdapter, proof: Proof):
    """The end of a signed header is not taken for the beginning of the body, nor the reverse."""
    secret = proof.secret(1)
    delivery = sent(recorded(adapter.name)[0], proof, secret)
    _, of_proof = proof.prove(delivery.body, NOW, secret)
    for header in of_proof if proof.covered else ():
        without = {name: value for name, value in delivery.headers.items() if name != header}
        for between in (b".", b":", b""):
            grown = of_proof[header].encode() + between + delivery.body
            assert not passes(adapter, Delivery(without, grown, NOW), secret)


@each_proof
def test_a_signed_time_must_be_near(adapter: AnyAdapter, proof: Proof):
    """W05"""
    secret = proof.secret(1)
    payload = recorded(adapter.name)[0]
    for late in (timedelta(seconds=2), timedelta(seconds=-2)) if proof.time else ():
        for way in (proof.tolerance, -proof.tolerance):
            body, headers = proof.prove(payload.body, NOW + way + late, secret)
            near = abs(way + late) <= proof.tolerance
            assert (
                passes(adapter, Delivery({**payload.fresh_headers(), **headers}, body, NOW), secret) == near
            )
    for time in ("-1", "1e999", "", "٣" * 10, "1" * 400) if proof.time else ():
        body, headers = proof.prove(payload.body, NOW, secret)
        assert not passes(adapter, Delivery({**headers, proof.time or "": time}, body, NOW), secret)


@each_proof
@a_few
@given(data=st.data())
def test_a_replay_is_known_whatever_header_is_changed_that_nobody_signed(
    adapter: AnyAdapter, proof: Proof, data: st.DataObject
):
    """W03, W04: it is refused, or it is another kind of event, or it shares a key with what was delivered."""
    source, secret = source_of(adapter), proof.secret(1)
    delivery = sent(data.draw(st.sampled_from(recorded(adapter.name))), proof, secret)
    unsigned = sorted(delivery.headers.keys() - proof.prove(delivery.body, NOW, secret)[1].keys())
    changed = {
        header: data.draw(st.text("abc-019", max_size=9)) for header in unsigned if data.draw(st.booleans())
    }
    replay = Delivery({**delivery.headers, **changed}, delivery.body, NOW)
    assert passes(adapter, replay, secret)
    events, again = parsed(source, delivery), parsed(source, replay)
    if events and again and [e.type for e in events] == [e.type for e in again]:
        assert set(delivery_keys(source, delivery, events)) & set(delivery_keys(source, replay, again))


def parsed(source: WebhookSource, delivery: Delivery) -> tuple[Event, ...]:
    try:
        return source.parse(delivery, Origin(DEFAULT_TENANT_ID, "here"))
    except PlatformError:
        return ()


@each_payload
def test_what_was_recorded_becomes_events_whose_text_and_facts_are_always_the_same(payload: Recorded):
    source = source_of(SOURCES[payload.system])
    delivery = Delivery(payload.fresh_headers(), payload.body, NOW)
    first, second = (source.parse(delivery, Origin(DEFAULT_TENANT_ID, "here")) for _ in range(2))
    assert [event_text(event) for event in first] == [event_text(event) for event in second]
    assert [told(event) for event in first] == [told(event) for event in second]
    for event in first:
        check(payload.system, event)


def told(event: Event) -> list[Mapping[str, Any]]:
    return [{**asdict(fact), "event_id": None} for fact in facts_of(event)]


def check(system: str, event: Event) -> None:
    assert (event.type in TYPES, event.system, event.source) == (True, system, "here")
    known = event.model_copy(update={"identity": None})  # which intake alone keeps
    assert EVENT.validate_json(EVENT.dump_json(event)) == known
    for line, longest in ((event.subject, 300), (event.title, 300)):
        assert line == line.strip() != ""
        assert line.isprintable()
        assert len(line) <= longest
    text = event_text(event)
    assert event.subject in text
    assert "None" not in text + event.title
    facts = list(facts_of(event))
    assert bool(facts) == (event.type not in WITHOUT_FACT)
    for fact in facts:
        assert fact.subject.strip() != ""
        assert len(fact.subject) <= MAX_KEY
        assert len(fact.qualifier) <= MAX_KEY
        assert "{" not in fact.predicate + fact.qualifier
        assert fact.valid_from == event.occurred_at
        assert fact.value is None or fact.value["title"] == event.title


@pytest.fixture
async def front_door(database, redis_url):
    """rest-api with an integration of every source, each by its first proof, and where SNS would be."""
    async with sns_stand_in() as stand_in:
        options = {"sns": {"topics": sorted(topics()), "endpoint_url": stand_in.url}}
        integrations = [
            {
                "name": f"{name}-here",
                "system": name,
                "options": options.get(name, {}),
                "webhook_secrets": () if adapter.name == "sns" else (proofs_of(adapter)[0].secret(1).held,),
            }
            for name, adapter in SOURCES.items()
        ]
        async with a_caller(
            database, settings_for(database.app_url, redis_url, integrations), "events:read"
        ) as rest:
            yield FrontDoor(rest, stand_in)


def topics() -> set[str]:
    return {payload.content["TopicArn"] for payload in recorded("sns")}


@dataclass(frozen=True)
class FrontDoor:
    rest: Rest
    sns: SnsStandIn

    async def deliver(self, payload: Recorded, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """What the answer to a delivery says; one that is ignored or stored is 202, one that is asked something 200."""
        proof = proofs_of(SOURCES[payload.system])[0]
        secret = Secret(proof.secret(1).held, self.sns.url) if payload.system == "sns" else proof.secret(1)
        body, of_proof = proof.prove(payload.body, utc_now(), secret)
        raw = {
            name: value.encode("latin-1")
            for name, value in {**(headers or payload.fresh_headers()), **of_proof}.items()
        }
        answer = await self.rest.http.post(
            f"/webhooks/{payload.system}/{payload.system}-here", content=body, headers=raw
        )
        asked = source_of(SOURCES[payload.system]).respond is not None
        assert answer.status_code in ((200, 202) if asked else (202,)), (payload.name, answer.text)
        told: dict[str, Any] = answer.json()
        return told


async def test_every_source_is_taken_in_over_http_and_each_delivery_once(front_door, database):
    """W03: a second delivery, under the same id or another, has an effect only where the id itself is signed."""
    seen: dict[str, set[str]] = {}
    for payload in EVERY:
        headers = payload.fresh_headers()
        first = await front_door.deliver(payload, headers)
        again = [await front_door.deliver(payload, headers), await front_door.deliver(payload)]
        if first.get("status") == "accepted":
            seen.setdefault(payload.system, set()).update(first["events"])
        assert {answer.get("status") for answer in again} <= {"duplicate", "ignored", None}
    assert seen.keys() == SOURCES.keys()
    with psycopg.connect(database.superuser_url) as connection:
        stored = connection.execute(
            "SELECT id::text, system, source, type, subject <> '' FROM events"
        ).fetchall()
    assert {(system, id_) for id_, system, *_ in stored} == {
        (system, id_) for system, ids in seen.items() for id_ in ids
    }
    assert {(source, type_ in TYPES, named) for _, _, source, type_, named in stored} == {
        (f"{name}-here", True, True) for name in SOURCES
    }
