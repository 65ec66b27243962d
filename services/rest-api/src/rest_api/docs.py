"""The readable page of the API: made from the OpenAPI document, one file without scripts, so that it works offline."""

import base64
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
_STYLE_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
"""The page's `Content-Security-Policy`."""


def page(document: dict[str, Any]) -> str:
    """The page as HTML."""
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault(operation["tags"][0], []).append(_operation(method, path, operation))
    links = "".join(f'<a href="#{escape(tag)}">{escape(tag)}</a>' for tag in by_tag)
    sections = "".join(
        f'<h2 id="{escape(tag)}">{escape(tag)}</h2>{"".join(parts)}' for tag, parts in by_tag.items()
    )
    models = "".join(
        _model(name, schema) for name, schema in sorted(document["components"]["schemas"].items())
    )
    info = document["info"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{escape(info['title'])} API {escape(info['version'])}</h1><p>{escape(info['description'])} "
        "Send an access token or an API key as <code>Authorization: Bearer …</code>. The machine-readable form is "
        f'<a href="/openapi.json">openapi.json</a>.</p><nav>{links}<a href="#models">models</a></nav>'
        f'{sections}<h2 id="models">models</h2>{models}</main></body></html>'
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = "".join(_parameter(parameter) for parameter in operation["parameters"])
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    answers = ", ".join(
        f"{status} {escape(answer['description'])}" for status, answer in operation["responses"].items()
    )
    return (
        f"<h3><span class=method>{method.upper()}</span> {escape(path)}</h3><p>{escape(operation['description'])}</p>"
        + (f"<table>{parameters}</table>" if parameters else "")
        + (f"<p>Body: {_type(body)}</p>" if body else "")
        + f"<p><small>{answers}</small></p>"
    )


def _parameter(parameter: dict[str, Any]) -> str:
    need = "required" if parameter["required"] else "optional"
    return f"<tr><td><code>{escape(parameter['name'])}</code><td>{_type(parameter['schema'])}<td>{parameter['in']}, {need}</tr>"


def _model(name: str, schema: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code><td>{_type(part)}<td>{escape(part.get('description', ''))}</tr>"
        for field, part in schema.get("properties", {}).items()
    )
    text = escape(schema.get("description", ""))
    return f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary><p>{text}</p><table>{rows}</table></details>'


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
