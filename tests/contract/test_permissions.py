"""Every permission that is checked anywhere in the code stands in the table."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

from devops_mcp.models.permissions import PERMISSIONS

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "libs", *sorted((ROOT / "services").glob("*/src"))]
CHECKS = {"require": 1, "permit": 2}
"""Functions that check a permission, and which argument it is."""
METHODS = {"may": 0, "may_on": 1, "usable": 2, "chosen": 3}
"""Likewise the methods of principals and integrations."""
HANDED_ON = {"permission", "grant"}
"""Parameters that carry on what a caller of them named, which is then what is looked at."""


def modules() -> Iterator[tuple[str, Path]]:
    for source in SOURCES:
        for path in sorted(source.rglob("*.py")):
            parts = path.relative_to(source).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__"), path


def checked(call: ast.Call) -> ast.expr | None:
    match call.func:
        case ast.Attribute(attr=name) if name in METHODS:
            position = METHODS[name]
        case ast.Name(id=name):
            position = CHECKS.get(name)
        case _:
            return None
    if position is None or len(call.args) <= position:
        return None
    return call.args[position]


def alternatives(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    else:
        yield node


def written(node: ast.expr, module: str) -> str | None:
    """The permission as the table has it; `*` for what is known only later. None where it is handed on from elsewhere."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name) if name in HANDED_ON:
            return None
        case ast.Name(id=name):
            return str(getattr(importlib.import_module(module), name))
        case ast.Attribute(value=ast.Name(id=holder), attr=name) if name.isupper():
            return str(getattr(getattr(importlib.import_module(module), holder), name))
        case ast.JoinedStr(values=parts):
            return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in parts)
    return ast.unparse(node)


def permissions_in_code() -> dict[str, str]:
    """Each permission that is checked, and where."""
    found: dict[str, str] = {}
    for module, path in modules():
        tree = ast.parse(path.read_text())
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if (node := checked(call)) is not None:
                for one in alternatives(node):
                    if (text := written(one, module)) is not None:
                        found[text] = f"{path.relative_to(ROOT)}:{call.lineno}"
    return found


BUILT = {
    "endpoint.needs.format_map(dict(call.params))": None,
    "offered.permission": "resources:read:*",
    "_permission(prompt)": "prompts:read:*",
    "*self.needed": None,
    "*entry.needed": None,
    "*permissions": None,
    "*wanted": None,
    "*(f'{p}@{name}' for p in wanted)": None,
}
"""Permissions that are put together elsewhere: those of tools in `CatalogueEntry.permissions`, those of endpoints in their table."""


def test_the_table_has_every_permission_that_is_checked():
    found = {BUILT.get(text, text): where for text, where in permissions_in_code().items()}
    table = {permission.grant for permission in PERMISSIONS}
    assert len(found) > 15
    assert {text: where for text, where in found.items() if text is not None and text not in table} == {}
