"""Master keys from where an operator keeps them. KMS and Secrets Manager are moto's, over HTTP."""

import base64
from contextlib import contextmanager

import boto3
import pytest
from moto.server import ThreadedMotoServer

from devops_mcp.auth.keyring import Keyring
from devops_mcp.auth.master_keys import open_keyring
from devops_mcp.config import Settings
from devops_mcp.models.errors import ConfigurationError, PlatformError

IN_SETTINGS, IN_FILE, IN_SECRET = (
    f"a master key that is kept in {place}, long enough" for place in ("settings", "a file", "a secret")
)


def settings(**sources) -> Settings:
    return Settings(database_url="postgresql:///", redis_url="redis://", **sources)


@pytest.fixture(scope="module")
def aws():
    """The address of KMS and Secrets Manager."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@contextmanager
def found_at(monkeypatch, url: str):
    with monkeypatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", url)
        yield


async def test_keys_come_from_every_source_the_safest_first(monkeypatch, tmp_path, aws):
    kms = boto3.client("kms", endpoint_url=aws)
    secrets = boto3.client("secretsmanager", endpoint_url=aws)
    made = kms.generate_data_key(KeyId=kms.create_key()["KeyMetadata"]["KeyId"], KeySpec="AES_256")
    secrets.create_secret(Name="master-keys", SecretString=f"{IN_SECRET}\n\n")
    (tmp_path / "keys").write_text(f"{IN_FILE}\n  {IN_SETTINGS[::-1]}  \n")
    with found_at(monkeypatch, aws):
        keyring = await open_keyring(
            settings(
                master_keys=(IN_SETTINGS,),
                master_keys_file=tmp_path / "keys",
                master_keys_secret="master-keys",
                master_keys_kms=(base64.b64encode(made["CiphertextBlob"]).decode(),),
            )
        )
    of_kms = base64.b64encode(made["Plaintext"]).decode()
    expected = Keyring(
        settings(master_keys=(of_kms, IN_SECRET, IN_FILE, IN_SETTINGS[::-1], IN_SETTINGS)).master_keys
    )
    assert keyring.keys("x") == expected.keys("x")


async def test_one_source_is_enough_and_none_is_not(tmp_path):
    """C01"""
    (tmp_path / "keys").write_text(IN_FILE)
    keyring = await open_keyring(settings(master_keys_file=tmp_path / "keys"))
    assert keyring.keys("x") == Keyring(settings(master_keys=(IN_FILE,)).master_keys).keys("x")
    for nothing in ({}, {"master_keys": ()}):
        with pytest.raises(ValueError, match="master_keys"):
            settings(**nothing)


@pytest.mark.parametrize(
    "sources",
    [
        {"master_keys_kms": ("not base64!",)},
        {"master_keys_kms": (base64.b64encode(b"what KMS never made").decode(),)},
        {"master_keys_secret": "no-such-secret"},
        {"master_keys_secret": "short"},
        {"master_keys_secret": "empty"},
    ],
)
async def test_a_source_that_gives_no_key_is_named_and_the_service_does_not_start(monkeypatch, aws, sources):
    """C01, K01"""
    secrets = boto3.client("secretsmanager", endpoint_url=aws)
    known = {one["Name"] for one in secrets.list_secrets()["SecretList"]}
    for name, text in (("short", "canary-too-short"), ("empty", "\n")):
        if name not in known:
            secrets.create_secret(Name=name, SecretString=text)
    with found_at(monkeypatch, aws), pytest.raises(ConfigurationError) as refused:
        await open_keyring(settings(**sources))
    assert "canary" not in refused.value.message


async def test_files_that_cannot_be_read_and_services_that_do_not_answer_are_named(monkeypatch, tmp_path):
    """C01"""
    with pytest.raises(ConfigurationError, match="master_keys_file"):
        await open_keyring(settings(master_keys_file=tmp_path / "absent"))
    with found_at(monkeypatch, "http://127.0.0.1:9"), pytest.raises(PlatformError, match="cannot be reached"):
        await open_keyring(settings(master_keys_secret="master-keys"))
