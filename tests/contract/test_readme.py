"""What the README says of the code."""

from pathlib import Path

from devops_mcp.cli.readme import with_table

README = Path(__file__).parents[2] / "README.md"


def test_the_table_of_tools_is_what_the_code_has():
    text = README.read_text("utf-8")
    assert with_table(text) == text, "run: make readme"
