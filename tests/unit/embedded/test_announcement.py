"""What is said once everything runs leads on from there."""

from pathlib import Path

import pytest

from devops_mcp.embedded.announcement import Announcement
from devops_mcp.embedded.servers import Servers
from devops_mcp.embedded.state import Secrets


@pytest.mark.parametrize(("state", "command"), [(".data", "make demo "), ("other", "make demo STATE={}")])
def test_the_demo_is_told_where_the_suite_is(tmp_path, monkeypatch, state, command):
    monkeypatch.chdir(tmp_path)
    servers = Servers(1, "redis://", "http://127.0.0.1:1", Secrets.generate())
    folder = Path(state).absolute()
    said = Announcement(folder, servers, {"rest": 2, "mcp": 3}, {}).text(1.0)
    assert f"  {command.format(folder)} " in said
