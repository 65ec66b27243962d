"""The README's table of systems and tools, made from the code: `python -m devops_mcp.cli.readme README.md` writes it anew."""

import sys
from pathlib import Path
from typing import Any

from devops_mcp.adapters.base import AnyTool, Effect
from devops_mcp.adapters.polls import Poller
from devops_mcp.adapters.registry import OWN, load_adapters
from devops_mcp.operations.own_tools import OWN_TOOLS

BEGIN, END = "<!-- tools: made by 'make readme' -->", "<!-- /tools -->"
_MARKS = {Effect.READ: "", Effect.WRITE: " ✎", Effect.DESTRUCTIVE: " ✎✎"}


def table() -> str:
    """The table as Markdown: a row a system, whether it sends webhooks, what it is polled for, and its tools."""
    rows = [_row("The suite's own", OWN_TOOLS, webhooks=False, pollers=())]
    adapters = load_adapters(OWN, installed=False).values()
    rows += [
        _row(a.title, a.tools, webhooks=a.webhooks is not None, pollers=a.pollers)
        for a in sorted(adapters, key=lambda a: a.title.lower())
    ]
    header = "| System | Webhooks | Polled | Tools (✎ writes, ✎✎ may lose something) |\n|---|---|---|---|\n"
    return header + "\n".join(rows)


def with_table(readme: str) -> str:
    """The text with the table between its marks as the code has it now."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def _row(title: str, tools: tuple[AnyTool, ...], *, webhooks: bool, pollers: tuple[Poller[Any], ...]) -> str:
    names = ", ".join(f"`{tool.name}`{_MARKS[tool.effect]}" for tool in tools)
    polled = ", ".join(f"`{poller.name}`" for poller in pollers)
    return f"| {title} | {'yes' if webhooks else ''} | {polled} | {names} |"


def main(arguments: list[str]) -> int:
    path = Path(arguments[0] if arguments else "README.md")
    path.write_text(with_table(path.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
