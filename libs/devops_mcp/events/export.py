"""LocalStack's init script, made from the table of queues: `python -m devops_mcp.events.export > localstack/init/queues.sh`."""

import json
import shlex
import sys

from devops_mcp.events.provisioning import QueueDefinition, queue_definitions, redrive_policy

ACCOUNT, REGION = "000000000000", "us-east-1"
BUCKET = "devops-mcp"
_HEAD = """\
#!/bin/bash
# Made by 'python -m devops_mcp.events.export' from the table in libs/devops_mcp/events/queues.py; change that, not this.
set -euo pipefail
"""


def script(prefix: str = "devops-mcp-") -> str:
    """A shell script that creates every queue and dead-letter queue, and the bucket, with LocalStack's `awslocal`."""
    lines = [_create(definition) for definition in queue_definitions(prefix)]
    return f"{_HEAD}{''.join(lines)}awslocal s3api create-bucket --bucket {BUCKET} >/dev/null\n"


def _create(definition: QueueDefinition) -> str:
    attributes = dict(definition.attributes)
    if definition.dead_letter_queue is not None and definition.max_receives is not None:
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{definition.dead_letter_queue}"
        attributes["RedrivePolicy"] = redrive_policy(arn, definition.max_receives)
    return f"awslocal sqs create-queue --queue-name {definition.name} --attributes {shlex.quote(json.dumps(attributes))} >/dev/null\n"


if __name__ == "__main__":
    sys.stdout.write(script())
