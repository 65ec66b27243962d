import re
import stat

import pytest

from devops_mcp.embedded.state import load_secrets, locked_state, prepare_state, write_private
from devops_mcp.models.errors import ConfigurationError


def test_secrets_are_made_once_and_only_their_owner_reads_them(tmp_path):
    made = load_secrets(tmp_path)

    assert load_secrets(tmp_path) == made
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600


def test_two_folders_share_no_secret(tmp_path):
    first, second = (load_secrets(prepare_state(tmp_path / name)) for name in ("first", "second"))

    assert first.development_key != second.development_key
    assert first.postgres != second.postgres


def test_the_development_key_has_the_form_of_an_api_key(tmp_path):
    assert re.fullmatch(r"dm_[a-z0-9]{12}_[A-Za-z0-9_-]{43}", load_secrets(tmp_path).development_key)


def test_secrets_never_show_in_a_message(tmp_path):
    secrets = load_secrets(tmp_path)

    assert secrets.postgres not in repr(secrets)


def test_lost_secrets_beside_a_database_are_refused_instead_of_replaced(tmp_path):
    (tmp_path / "postgres").mkdir()

    with pytest.raises(ConfigurationError, match=r"secrets.json is missing"):
        load_secrets(tmp_path)


def test_a_folder_serves_one_start_at_a_time(tmp_path):
    with (
        locked_state(tmp_path),
        pytest.raises(ConfigurationError, match="in use by process"),
        locked_state(tmp_path),
    ):
        pass

    with locked_state(tmp_path):
        assert (tmp_path / "lock").exists()


def test_a_file_is_replaced_whole_and_stays_private(tmp_path):
    path = tmp_path / "run.json"
    path.write_text("the old content, longer than the new one")
    path.chmod(0o644)

    write_private(path, "new")

    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
