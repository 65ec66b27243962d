"""The table of queues as SQS takes it."""

import json
from datetime import timedelta

from devops_mcp.events.provisioning import QueueDefinition, queue_definitions, redrive_policy
from devops_mcp.events.queues import QueueName, QueueSpec


def test_a_queue_comes_after_its_dead_letter_queue_with_the_tables_times():
    spec = QueueSpec(QueueName.EVENTS, visibility_timeout=timedelta(seconds=30), max_receives=5)

    assert queue_definitions("suite-", [spec]) == [
        QueueDefinition("suite-events-dead", {"MessageRetentionPeriod": "1209600"}),
        QueueDefinition(
            "suite-events",
            {"MessageRetentionPeriod": "345600", "VisibilityTimeout": "30"},
            dead_letter_queue="suite-events-dead",
            max_receives=5,
        ),
    ]


def test_a_fifo_queues_dead_letters_are_fifo_too():
    spec = QueueSpec(QueueName.EVENTS, visibility_timeout=timedelta(seconds=30), max_receives=5, fifo=True)

    definitions = queue_definitions("", [spec])

    assert [definition.name for definition in definitions] == ["events-dead.fifo", "events.fifo"]
    assert all(definition.attributes["FifoQueue"] == "true" for definition in definitions)


def test_a_redrive_policy_names_the_dead_letter_queue_and_the_limit():
    arn = "arn:aws:sqs:eu-west-1:123456789012:events-dead"

    assert json.loads(redrive_policy(arn, 5)) == {"deadLetterTargetArn": arn, "maxReceiveCount": 5}
