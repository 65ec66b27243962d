import stat
from pathlib import Path

import pytest
import yaml

from devops_mcp.config import Settings, load_settings_of_a_command
from devops_mcp.embedded.demo_config import configuration_file, needs_github_stand_in
from devops_mcp.embedded.state import Secrets

SECRETS = Secrets.generate()


def settings_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("DEVOPS_MCP_CONFIG_FILE", str(path))
    return load_settings_of_a_command()


def test_the_written_file_is_one_the_services_accept(tmp_path, monkeypatch):
    settings = settings_of(configuration_file(tmp_path, SECRETS, None, {}), monkeypatch)

    assert [(i.name, i.system) for i in settings.integrations] == [
        ("files", "fs"),
        ("github", "github"),
    ]
    assert settings.integrations[1].webhook_secrets[0].get_secret_value() == SECRETS.github_webhook


def test_it_holds_secrets_and_only_its_owner_reads_it(tmp_path):
    path = configuration_file(tmp_path, SECRETS, None, {"GITHUB_TOKEN": "ghp_x"})

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert yaml.safe_load(path.read_text())["integrations"][1]["options"] == {"token": "ghp_x"}


def test_a_file_the_operator_names_wins_and_nothing_is_written(tmp_path):
    own = tmp_path / "own.yaml"

    assert configuration_file(tmp_path, SECRETS, None, {"DEVOPS_MCP_CONFIG_FILE": str(own)}) == own
    assert list(tmp_path.iterdir()) == []


def test_prometheus_is_there_when_its_address_is_and_can_be_reached(tmp_path, monkeypatch):
    address = {"DEVOPS_MCP_DEMO_PROMETHEUS_URL": "http://127.0.0.1:9090"}

    settings = settings_of(configuration_file(tmp_path, SECRETS, None, address), monkeypatch)

    assert settings.integrations[2].options == {"base_url": "http://127.0.0.1:9090"}
    assert settings.private_networks == ("127.0.0.1/32",)


def test_a_stand_in_for_github_takes_its_place_and_can_be_reached(tmp_path, monkeypatch):
    settings = settings_of(configuration_file(tmp_path, SECRETS, "http://127.0.0.1:9380", {}), monkeypatch)

    assert settings.integrations[1].options == {"base_url": "http://127.0.0.1:9380"}
    assert settings.private_networks == ("127.0.0.1/32",)


@pytest.mark.parametrize(
    ("environment", "needed"),
    [({}, True), ({"GITHUB_TOKEN": "ghp_x"}, False), ({"DEVOPS_MCP_CONFIG_FILE": "own.yaml"}, False)],
)
def test_a_stand_in_is_needed_where_nobody_says_which_github(environment, needed):
    assert needs_github_stand_in(environment) is needed


def test_files_that_agents_wrote_are_kept_at_the_next_start(tmp_path):
    configuration_file(tmp_path, SECRETS, None, {})
    (tmp_path / "files" / "README.md").write_text("mine")

    configuration_file(tmp_path, SECRETS, None, {})

    assert (tmp_path / "files" / "README.md").read_text() == "mine"
