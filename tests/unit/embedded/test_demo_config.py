import stat
from pathlib import Path

import pytest
import yaml

from devops_mcp.config import Settings, load_settings
from devops_mcp.embedded.demo_config import configuration_file
from devops_mcp.embedded.state import Secrets

SECRETS = Secrets.generate()


def settings_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("DEVOPS_MCP_CONFIG_FILE", str(path))
    return load_settings({"database_url": "postgresql:///", "redis_url": "redis://"})


def test_the_written_file_is_one_the_services_accept(tmp_path, monkeypatch):
    settings = settings_of(configuration_file(tmp_path, SECRETS, {}), monkeypatch)

    assert [(i.name, i.system) for i in settings.integrations] == [
        ("files", "fs"),
        ("github", "github"),
    ]
    assert settings.integrations[1].webhook_secrets[0].get_secret_value() == SECRETS.github_webhook


def test_it_holds_secrets_and_only_its_owner_reads_it(tmp_path):
    path = configuration_file(tmp_path, SECRETS, {"GITHUB_TOKEN": "ghp_x"})

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert yaml.safe_load(path.read_text())["integrations"][1]["options"] == {"token": "ghp_x"}


def test_a_file_the_operator_names_wins_and_nothing_is_written(tmp_path):
    own = tmp_path / "own.yaml"

    assert configuration_file(tmp_path, SECRETS, {"DEVOPS_MCP_CONFIG_FILE": str(own)}) == own
    assert list(tmp_path.iterdir()) == []


def test_prometheus_is_there_when_its_address_is_and_can_be_reached(tmp_path, monkeypatch):
    address = {"DEVOPS_MCP_DEMO_PROMETHEUS_URL": "http://127.0.0.1:9090"}

    settings = settings_of(configuration_file(tmp_path, SECRETS, address), monkeypatch)

    assert settings.integrations[2].options == {"base_url": "http://127.0.0.1:9090"}
    assert settings.private_networks == ("127.0.0.1/32",)


def test_files_that_agents_wrote_are_kept_at_the_next_start(tmp_path):
    configuration_file(tmp_path, SECRETS, {})
    (tmp_path / "files" / "README.md").write_text("mine")

    configuration_file(tmp_path, SECRETS, {})

    assert (tmp_path / "files" / "README.md").read_text() == "mine"
