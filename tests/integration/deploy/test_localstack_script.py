"""LocalStack's script, run as it stands against our queue server, with a stand-in for the command `awslocal`."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from devops_mcp.events.connection import open_sqs
from devops_mcp.events.export import BUCKET
from devops_mcp.events.provisioning import queue_definitions
from devops_mcp.events.queues import QUEUES

SCRIPT = Path(__file__).parents[3] / "localstack" / "init" / "queues.sh"
PREFIX = "devops-mcp-"
AWSLOCAL = f"""#!{sys.executable}
import json, os, sys
import boto3

_, service, command, *words = sys.argv
given = dict(zip(words[::2], words[1::2], strict=True))
if (service, command) == ("sqs", "create-queue"):
    client = boto3.client("sqs", endpoint_url=os.environ["ENDPOINT"])
    client.create_queue(QueueName=given["--queue-name"], Attributes=json.loads(given["--attributes"]))
elif (service, command) == ("s3api", "create-bucket"):
    open(os.environ["BUCKETS"], "a").write(given["--bucket"] + "\\n")
else:
    sys.exit(f"no such command: {{service}} {{command}}")
"""


@pytest.fixture
async def sqs(stack) -> AsyncIterator[Any]:
    """A client; the queues of the script are deleted at the end. No other test uses their prefix."""
    async with open_sqs(endpoint_url=stack.servers.sqs_url, region="us-east-1") as client:
        yield client
        for url in (await client.list_queues(QueueNamePrefix=PREFIX)).get("QueueUrls", ()):
            await client.delete_queue(QueueUrl=url)


async def attributes(client: Any, queue: str) -> dict[str, str]:
    url = (await client.get_queue_url(QueueName=queue))["QueueUrl"]
    return (await client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]))["Attributes"]


async def test_it_makes_the_table_of_queues_with_their_dead_letters_and_the_bucket(sqs, stack, tmp_path):
    stand_in = tmp_path / "awslocal"
    stand_in.write_text(AWSLOCAL)
    stand_in.chmod(0o755)
    done = subprocess.run(
        [str(SCRIPT)],
        env={
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "ENDPOINT": stack.servers.sqs_url,
            "BUCKETS": str(tmp_path / "buckets"),
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": "us-east-1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for definition in queue_definitions(PREFIX):
        found = await attributes(sqs, definition.name)
        assert {name: found.get(name) for name in definition.attributes} == definition.attributes
    for spec in QUEUES:
        dead = await attributes(sqs, spec.dead_letter_queue(PREFIX))
        policy = json.loads((await attributes(sqs, spec.queue(PREFIX)))["RedrivePolicy"])
        assert policy["deadLetterTargetArn"] == dead["QueueArn"]
        assert int(policy["maxReceiveCount"]) == spec.max_receives
    assert (tmp_path / "buckets").read_text() == f"{BUCKET}\n"
