"""What settings a service starts with, and which it refuses in one line that shows no value."""

import json
import os

import pytest

from devops_mcp.config import Environment, load_settings, load_settings_of_a_command, unknown_variables
from devops_mcp.models.errors import ConfigurationError

SECRET = "hunter2hunter2hunter2hunter2hunter2"
SOUND = {
    "DATABASE_URL": f"postgresql://app:{SECRET}@db/devops_mcp",
    "REDIS_URL": f"rediss://:{SECRET}@cache:6379/0",
    "MASTER_KEYS": f'["{SECRET}"]',
}


@pytest.fixture
def environment(monkeypatch):
    for name in os.environ:
        if name.startswith("DEVOPS_MCP_"):
            monkeypatch.delenv(name)

    def set_to(settings: dict[str, str]) -> None:
        for name, value in settings.items():
            monkeypatch.setenv(f"DEVOPS_MCP_{name}", value)

    return set_to


def test_three_settings_are_enough_and_nothing_of_them_is_shown(environment):
    """K01"""
    environment(SOUND)
    assert SECRET not in repr(load_settings())


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("DATABASE_URL", "", "DATABASE_URL: must be an address such as postgresql://"),
        ("DATABASE_URL", f"mysql://app:{SECRET}@db/x", "DATABASE_URL: must be an address"),
        ("REDIS_URL", f"http://:{SECRET}@cache", "REDIS_URL: must be an address such as redis://"),
        ("MASTER_KEYS", SECRET, "MASTER_KEYS or a setting within it is not JSON"),
        ("MASTER_KEYS", "[]", "settings: master_keys is empty"),
        ("MASTER_KEYS", '["hunter2"]', "settings: master_keys: a key is shorter than 32"),
        (
            "MASTER_KEYS",
            '["development-only-0123456789abcdef"]',
            "settings: master_keys: a key for development",
        ),
        ("REST__HOST", "0.0.0.0", "settings: rest.host is 0.0.0.0: say with rest.allowed_hosts"),
        ("REST__ALLOWED_HOSTS", SECRET, "REST or a setting within it is not JSON"),
        ("REST__ALLOWED_ORIGINS", '["*"]', "REST__ALLOWED_ORIGINS__0: String should match"),
        ("REST__PROT", SECRET, "REST__PROT: is not known here"),
        ("REST__PORT", "many", "REST__PORT: Input should be a valid integer"),
        ("ENVIRONMENT", SECRET, "ENVIRONMENT: Input should be 'production'"),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not_shown(environment, setting, value, said):
    """C01, K01"""
    environment(SOUND | {setting: value})
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert refused.value.message.removeprefix("DEVOPS_MCP_").startswith(said)
    assert "hunter2" not in refused.value.message
    assert len(refused.value.message.splitlines()) == 1


def test_all_that_is_missing_is_told_at_once(environment):
    """C01"""
    environment({})
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    for setting in SOUND:
        assert f"DEVOPS_MCP_{setting} is missing" in refused.value.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("integrations: [", "is not YAML"),
        ("- 1", "must hold a mapping"),
        ("integratons: []", "DEVOPS_MCP_INTEGRATONS: is not known here"),
    ],
)
def test_a_wrong_file_is_named(environment, tmp_path, text, said):
    """C01"""
    (tmp_path / "c.yaml").write_text(text)
    environment(SOUND | {"CONFIG_FILE": str(tmp_path / "c.yaml")})
    with pytest.raises(ConfigurationError, match=said):
        load_settings()


def test_the_embedded_start_takes_a_file_that_its_services_take(environment, tmp_path):
    """An identity provider on this machine is refused in production only."""
    provider = {"issuer": "http://127.0.0.1:9000", "audiences": ["x"]}
    (tmp_path / "c.yaml").write_text(json.dumps({"identity_providers": [provider]}))
    environment({"CONFIG_FILE": str(tmp_path / "c.yaml")})
    assert load_settings_of_a_command({"environment": Environment.EMBEDDED}).identity_providers
    with pytest.raises(ConfigurationError, match="not reached over https"):
        load_settings_of_a_command()


def test_the_environment_outranks_the_file(environment, tmp_path):
    (tmp_path / "c.yaml").write_text("rest: {port: 1}\nlog_level: DEBUG\n")
    environment(SOUND | {"CONFIG_FILE": str(tmp_path / "c.yaml"), "LOG_LEVEL": "ERROR"})
    assert (load_settings().rest.port, load_settings().log_level) == (1, "ERROR")


def test_a_variable_that_nothing_reads_is_known_as_such():
    read = [
        "REQUESTS_PER_S",
        "rest__port",
        "CONFIG_FILE",
        "API_KEY",
        "EMBEDDED_SHOW_LEVEL",
        "DEMO_GITHUB_URL",
    ]
    misspelt = ["DEVOPS_MCP_REQUEST_PER_S", "DEVOPS_MCP_RESTS__PORT"]
    environment = dict.fromkeys([*(f"DEVOPS_MCP_{name}" for name in read), *misspelt, "PATH"], "x")
    assert unknown_variables(environment) == misspelt
