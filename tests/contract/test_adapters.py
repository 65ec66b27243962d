"""What every adapter and every tool owes, whoever wrote it: a new folder in the registry is covered unasked."""

import ast
import asyncio
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError

from devops_mcp.adapters.base import (
    AnyAdapter,
    AnyTool,
    Effect,
    Listing,
    ListParams,
    Params,
    ReadParams,
    Risk,
    ToolResult,
    WriteParams,
    WriteResult,
)
from devops_mcp.adapters.registry import OWN, load_adapters

ADAPTERS = load_adapters()
TOOLS = [(adapter, tool) for adapter in ADAPTERS.values() for tool in adapter.tools]
MAX_NAME = 40
"""Of our own tools: clients put the server's name before it, and cut at 64."""
MAX_DESCRIPTION = 600
MAX_PROPERTY_DESCRIPTION = 300
LIBRARY = "devops_mcp"
MAY_IMPORT = ("adapters", "events", "outbound", "resilience", "observability", "config", "models")
"""The parts of the library that stand below adapters; of `adapters` itself only what is shared."""

each_adapter = pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS)
each_tool = pytest.mark.parametrize(("adapter", "tool"), TOOLS, ids=[tool.name for _, tool in TOOLS])
each_own_module = pytest.mark.parametrize("module", OWN)


def unbounded(schema: dict[str, Any]) -> Iterator[str]:
    """The parts of a model's schema that may be as large as one likes."""
    for name, definition in (*schema.get("$defs", {}).items(), ("", schema)):
        for option, part in definition.get("properties", {}).items():
            yield from (f"{name}.{option}: {fault}" for fault in _unbounded(part))


def _unbounded(part: dict[str, Any]) -> Iterator[str]:
    for alternative in (*part.get("anyOf", ()), *part.get("prefixItems", ())):
        yield from _unbounded(alternative)
    match part.get("type"):
        case "integer" | "number":
            if not {"minimum", "exclusiveMinimum"} & part.keys() or "maximum" not in part:
                yield "a number needs ge or gt, and le"
        case "string" if not {"enum", "const"} & part.keys() and part.get("format") != "path":
            if "maxLength" not in part:
                yield "a text needs max_length"
        case "array":
            if "maxItems" not in part:
                yield "a list needs max_length"
            yield from _unbounded(part.get("items", {}))
        case "object":
            if "maxProperties" not in part:
                yield "a mapping needs max_length"
            if "maxLength" not in part.get("propertyNames", {}):
                yield "the names of a mapping need max_length"
            yield from _unbounded(part.get("additionalProperties", {}))


def input_schema(tool: AnyTool) -> dict[str, Any]:
    return tool.params.model_json_schema()


def test_every_adapter_of_ours_is_loaded():
    assert {import_module(module).ADAPTER.name for module in OWN} <= set(ADAPTERS)


@each_adapter
def test_an_adapter_has_a_plain_name_a_title_and_tools_or_webhooks(adapter: AnyAdapter):
    assert re.fullmatch(r"[a-z][a-z0-9]*", adapter.name)
    assert adapter.title.strip() == adapter.title != ""
    assert adapter.tools or adapter.webhooks


@each_adapter
def test_the_settings_refuse_what_they_do_not_know_and_hold_no_secret_in_clear(adapter: AnyAdapter):
    with pytest.raises(ValidationError) as refused:
        adapter.settings.model_validate({"no_such_setting": 1})
    assert "extra_forbidden" in {fault["type"] for fault in refused.value.errors()}
    for name, field in adapter.settings.model_fields.items():
        if re.search(r"token|password|secret|private_key|api_key", name):
            assert "SecretStr" in str(field.annotation), f"{name} would be shown by repr"


@each_adapter
def test_no_option_lets_a_tenant_ask_for_work_without_bound(adapter: AnyAdapter):
    """I01: every number has a least and a most, every text, list and mapping a length."""
    assert list(unbounded(adapter.settings.model_json_schema())) == []


@each_adapter
def test_connecting_and_asking_are_what_the_frame_expects(adapter: AnyAdapter):
    assert list(inspect.signature(adapter.connect).parameters) == ["settings", "outside"]
    assert asyncio.iscoroutinefunction(adapter.ping) if adapter.tools else adapter.ping is None


@each_adapter
def test_a_poller_has_a_plain_name_says_what_it_looks_for_and_leaves_its_system_room(adapter: AnyAdapter):
    for poller in adapter.pollers:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", poller.name)
        assert poller.about.endswith(".")
        assert len(poller.about) <= 150
        assert poller.every.total_seconds() >= 10
        assert list(inspect.signature(poller.fetch).parameters) == ["client", "poll"]
        assert asyncio.iscoroutinefunction(poller.fetch)


@each_tool
def test_a_tool_is_named_after_its_system(adapter: AnyAdapter, tool: AnyTool):
    assert re.fullmatch(rf"{adapter.name}(_[a-z0-9]+)+", tool.name)
    assert len(tool.name) <= MAX_NAME
    assert tool.title.strip() == tool.title != ""
    assert len(tool.title) <= 60


@each_tool
def test_the_description_is_short_and_for_a_model(adapter: AnyAdapter, tool: AnyTool):
    assert 40 <= len(tool.description) <= MAX_DESCRIPTION
    assert tool.description[0].isupper()
    assert tool.description.rstrip().endswith((".", ")", "`"))
    assert "TODO" not in tool.description


@each_tool
def test_descriptions_are_not_shared(adapter: AnyAdapter, tool: AnyTool):
    assert sum(other.description == tool.description for _, other in TOOLS) == 1


@each_tool
def test_the_function_takes_and_gives_what_the_tool_says(adapter: AnyAdapter, tool: AnyTool):
    assert asyncio.iscoroutinefunction(tool.run)
    hints = get_type_hints(tool.run)
    result = hints.pop("return")
    assert list(hints.values())[1] is tool.params
    assert result == tool.result


@each_tool
def test_arguments_are_refused_when_unknown_and_cannot_be_changed(adapter: AnyAdapter, tool: AnyTool):
    assert issubclass(tool.params, Params)
    with pytest.raises(ValidationError) as refused:
        tool.params.model_validate({"no_such_argument": 1})
    assert ("no_such_argument",) in {fault["loc"] for fault in refused.value.errors()}
    assert tool.params.model_config.get("frozen")


@each_tool
def test_the_arguments_of_the_frame_are_there(adapter: AnyAdapter, tool: AnyTool):
    names = set(tool.params.model_fields)
    assert "target" in names
    if tool.effect is Effect.READ:
        assert issubclass(tool.params, ReadParams)
        assert not issubclass(tool.params, WriteParams)
        assert "fields" in names
    else:
        assert issubclass(tool.params, WriteParams)
        assert {"idempotency_key", "dry_run"} <= names


@each_tool
def test_a_list_is_paged(adapter: AnyAdapter, tool: AnyTool):
    if not issubclass(tool.result, Listing):
        assert not issubclass(tool.params, ListParams) or "next_cursor" in tool.result.model_fields
        return
    assert issubclass(tool.params, ListParams)
    limit = input_schema(tool)["properties"]["limit"]
    assert 1 <= limit["minimum"] <= limit["default"] <= limit["maximum"] <= 100


@each_tool
def test_the_input_schema_is_valid_and_every_argument_explained(adapter: AnyAdapter, tool: AnyTool):
    schema = input_schema(tool)
    Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    for place, name, prop in properties(schema):
        assert prop.get("description"), f"{place}.{name} has no description"
        assert len(prop["description"]) <= MAX_PROPERTY_DESCRIPTION


@each_tool
def test_every_argument_is_bounded(adapter: AnyAdapter, tool: AnyTool):
    """A text without a length, or a list without a number, is as long as a request may be."""
    for place, name, prop in properties(input_schema(tool)):
        for part in alternatives(prop):
            closed = {"enum", "const", "format", "pattern"} & set(part)
            if part.get("type") == "string" and not closed:
                assert "maxLength" in part, f"{place}.{name} is a text of any length"
            if part.get("type") == "array":
                assert "maxItems" in part, f"{place}.{name} is a list of any length"


@each_tool
def test_the_result_is_ours_and_its_schema_valid(adapter: AnyAdapter, tool: AnyTool):
    assert issubclass(tool.result, ToolResult)
    assert tool.result.model_config.get("extra") == "forbid"
    schema = tool.result.model_json_schema(mode="serialization")
    Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert set(schema["properties"]) > {"truncated"}


@each_tool
def test_effect_risk_and_flags_fit_together(adapter: AnyAdapter, tool: AnyTool):
    if tool.effect is Effect.READ:
        assert tool.risk is Risk.LOW
        assert not tool.idempotent
        assert not issubclass(tool.result, WriteResult)
    else:
        assert issubclass(tool.result, WriteResult)
        assert not tool.cache_for
    if tool.effect is Effect.DESTRUCTIVE:
        assert tool.risk is not Risk.LOW


@each_tool
def test_a_name_that_says_delete_is_destructive(adapter: AnyAdapter, tool: AnyTool):
    if re.search(r"(delete|remove|purge|destroy|drop)$", tool.name):
        assert tool.effect is Effect.DESTRUCTIVE
    if re.search(r"_(get|list|read|search|info)$", tool.name):
        assert tool.effect is Effect.READ


@each_own_module
def test_an_adapters_modules_import_only_what_stands_below(module: str):
    """The base and what is shared, not another adapter, the registry or the protocol's SDK."""
    package = import_module(module)
    own = module.removeprefix(f"{LIBRARY}.adapters.")
    shared = {path.stem for path in (Path(package.__path__[0]).parent).glob("*.py")} - {
        "__init__",
        "registry",
    }
    for path in Path(package.__path__[0]).rglob("*.py"):
        for name in imports(path):
            if name.split(".")[0] in ("mcp", "mcp_types", "mcp_server", "rest_api", "worker"):
                pytest.fail(f"{path.name} imports {name}")
            if not name.startswith(f"{LIBRARY}."):
                continue
            part, *rest = name.split(".")[1:]
            assert part in MAY_IMPORT, f"{path.name} imports {name}"
            if part == "adapters":
                assert rest, f"{path.name} imports all adapters"
                assert rest[0] in {own} | shared, f"{path.name} imports {name}"


@each_own_module
def test_an_adapter_says_which_interface_it_speaks_and_is_of_the_usual_files(module: str):
    package = import_module(module)
    assert re.search(r"https?://", package.__doc__ or ""), "the docstring names the vendor's page"
    folder = Path(package.__path__[0])
    if package.ADAPTER.tools:
        assert (folder / "config.py").is_file()
        assert (folder / "client.py").is_file()
        assert (folder / "tools.py").is_file() or (folder / "tools" / "__init__.py").is_file()
    webhooks = (folder / "webhooks.py").is_file() or (folder / "webhooks" / "__init__.py").is_file()
    assert webhooks is (package.ADAPTER.webhooks is not None)


@each_adapter
def test_webhooks_are_verified_before_anything_else(adapter: AnyAdapter):
    if (source := adapter.webhooks) is None:
        return
    for function in (source.verify, source.delivery_key, source.parse):
        assert not asyncio.iscoroutinefunction(function), "a webhook's functions do no I/O"
    assert 0 < source.max_body_bytes <= 25 * 1_048_576


class TestTheChecksThemselves:
    """A check that lets everything pass would go unnoticed."""

    def test_a_missing_description_is_found_in_nested_models_too(self):
        class Inner(BaseModel):
            silent: int

        class Outer(Params):
            inner: Inner

        missing = {
            name for _, name, prop in properties(Outer.model_json_schema()) if not prop.get("description")
        }
        assert missing == {"inner", "silent"}

    def test_alternatives_reach_into_optional_arguments(self):
        class Some(Params):
            text: str | None = None

        text = Some.model_json_schema()["properties"]["text"]
        assert [part["type"] for part in alternatives(text)] == ["string", "null"]

    def test_imports_inside_functions_count(self, tmp_path: Path):
        (tmp_path / "a.py").write_text(
            "import os.path\ndef f():\n    from devops_mcp.adapters import registry\n"
        )
        assert set(imports(tmp_path / "a.py")) == {"os.path", "devops_mcp.adapters.registry"}


def properties(schema: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Every argument and every field of a model within: where, its name, its schema."""
    models = {"arguments": schema, **schema.get("$defs", {})}
    return [
        (place, name, prop)
        for place, model in models.items()
        for name, prop in model.get("properties", {}).items()
    ]


def alternatives(prop: dict[str, Any]) -> list[dict[str, Any]]:
    """A schema, or those of its `anyOf`."""
    return [part for one in prop["anyOf"] for part in alternatives(one)] if "anyOf" in prop else [prop]


def imports(path: Path) -> list[str]:
    """The dotted names that a file imports, wherever it does; `from package import module` gives `package.module`."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names
