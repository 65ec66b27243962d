"""The readable page of the API: made from the OpenAPI document, one file without scripts, so that it works offline."""

import base64
import json
import re
from collections.abc import Iterator
from hashlib import sha256
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }
h2 { margin-top: 2.5rem; text-transform: capitalize } h3 { font: 600 15px ui-monospace, monospace; margin: 1.5rem 0 .25rem }
code, pre { font: 13px ui-monospace, monospace } pre { background: #f6f8fa; padding: .75rem; overflow-x: auto }
table { border-collapse: collapse } td, th { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top }
.method { color: #0550ae } details { margin: .25rem 0 } nav a { margin-right: 1rem }
"""
_BOUNDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "{} characters or more",
    "maxLength": "up to {} characters",
    "minItems": "{} items or more",
    "maxItems": "up to {} items",
    "pattern": "like {}",
}
"""Keywords of a schema, and how the page says them."""
_MODELS = "models"
_STYLE_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
"""The page's `Content-Security-Policy`."""


def page(document: dict[str, Any]) -> str:
    """The page as HTML."""
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault(operation["tags"][0], []).append(_operation(method, path, operation))
    tags = {tag["name"]: tag["description"] for tag in document["tags"]}
    links = "".join(f'<a href="#{_anchor(tag)}">{escape(tag)}</a>' for tag in tags)
    sections = "".join(
        f'<h2 id="{_anchor(tag)}">{escape(tag)}</h2>{_text(said)}{"".join(by_tag[tag])}'
        for tag, said in tags.items()
    )
    models = "".join(
        _model(name, schema) for name, schema in sorted(document["components"]["schemas"].items())
    )
    info = document["info"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{escape(info['title'])} API {escape(info['version'])}</h1>{_text(info['description'])}"
        '<p>The machine-readable form is <a href="/openapi.json">openapi.json</a>.</p>'
        f'<nav>{links}<a href="#{_MODELS}">models</a></nav>'
        f'{sections}<h2 id="{_MODELS}">models</h2>{models}</main></body></html>'
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = "".join(_parameter(parameter) for parameter in operation["parameters"])
    refusals = ", ".join(
        f"{status} {_inline(answer['description'])}"
        for status, answer in operation["responses"].items()
        if not status.startswith("2")
    )
    return (
        f"<h3><span class=method>{method.upper()}</span> {escape(path)}</h3>{_text(operation['description'])}"
        + (f"<table>{parameters}</table>" if parameters else "")
        + "".join(f"<p>Body: {said}</p>" for said in _contents(operation.get("requestBody", {})))
        + "".join(
            _example(content) for content in operation.get("requestBody", {}).get("content", {}).values()
        )
        + "".join(_answer(status, answer) for status, answer in operation["responses"].items())
        + f"<p><small>Else: {refusals}</small></p>"
    )


def _example(content: dict[str, Any]) -> str:
    if "example" not in content:
        return ""
    return f"<pre>{escape(json.dumps(content['example'], indent=2, ensure_ascii=False))}</pre>"


def _answer(status: str, answer: dict[str, Any]) -> str:
    if not status.startswith("2"):
        return ""
    said = " or ".join(_contents(answer)) or "no body"
    shown = "".join(_example(content) for content in answer.get("content", {}).values())
    example = f"<details><summary>Example</summary>{shown}</details>" if shown else ""
    return f"<p>Answer: {status} {escape(answer['description'])}, {said}</p>{example}"


def _contents(holder: dict[str, Any]) -> Iterator[str]:
    """What a body is, for each of its media types; that it is JSON goes without saying."""
    for media_type, content in holder.get("content", {}).items():
        kind = _type(content.get("schema", {}))
        yield kind if media_type == "application/json" else f"{kind} as <code>{escape(media_type)}</code>"


def _parameter(parameter: dict[str, Any]) -> str:
    need = "required" if parameter["required"] else "optional"
    schema = parameter["schema"]
    about = parameter.get("description") or schema.get("description", "")
    return (
        f"<tr><td><code>{escape(parameter['name'])}</code><td>{_type(schema)}<td>{parameter['in']}, {need}"
        f"<td>{_inline(about)} {_limits(schema)}</tr>"
    )


def _model(name: str, schema: dict[str, Any]) -> str:
    needed = schema.get("required", ())
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code><td>{_type(part)}<td>{'required' if field in needed else 'optional'}"
        f"<td>{_inline(part.get('description', ''))} {_limits(part)}</tr>"
        for field, part in schema.get("properties", {}).items()
    )
    about = _text(schema.get("description", ""))
    parts = f"<table>{rows}</table>" if rows else f"<p>{_type(schema)}</p>"
    return (
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>{about}{parts}</details>'
    )


def _limits(schema: dict[str, Any]) -> str:
    """What bounds a value, and what it is where nothing is said."""
    bounded = [schema, *schema.get("anyOf", ())]
    said = [words.format(part[key]) for part in bounded for key, words in _BOUNDS.items() if key in part]
    if schema.get("default") not in (None, "", [], {}):
        said.append(f"default {json.dumps(schema['default'])}")
    return f"<small>{escape(', '.join(said))}</small>" if said else ""


def _text(description: str) -> str:
    return "".join(f"<p>{_inline(part)}</p>" for part in description.split("\n\n") if part.strip())


def _inline(text: str) -> str:
    """The text with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _anchor(tag: str) -> str:
    return escape(tag.lower().replace(" ", "-"))


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rsplit("/", 1)[-1])
        return f'<a href="#{name}">{name}</a>'
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(_type(part) for part in alternatives)
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return escape(str(schema.get("format") or schema.get("type") or "any"))
