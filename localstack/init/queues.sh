#!/bin/bash
# Made by 'python -m devops_mcp.events.export' from the table in libs/devops_mcp/events/queues.py; change that, not this.
set -euo pipefail
awslocal sqs create-queue --queue-name devops-mcp-events-dead --attributes '{"MessageRetentionPeriod": "1209600"}' >/dev/null
awslocal sqs create-queue --queue-name devops-mcp-events --attributes '{"MessageRetentionPeriod": "345600", "VisibilityTimeout": "20", "RedrivePolicy": "{\"deadLetterTargetArn\": \"arn:aws:sqs:us-east-1:000000000000:devops-mcp-events-dead\", \"maxReceiveCount\": 5}"}' >/dev/null
awslocal sqs create-queue --queue-name devops-mcp-indexing-dead --attributes '{"MessageRetentionPeriod": "1209600"}' >/dev/null
awslocal sqs create-queue --queue-name devops-mcp-indexing --attributes '{"MessageRetentionPeriod": "345600", "VisibilityTimeout": "30", "RedrivePolicy": "{\"deadLetterTargetArn\": \"arn:aws:sqs:us-east-1:000000000000:devops-mcp-indexing-dead\", \"maxReceiveCount\": 5}"}' >/dev/null
awslocal sqs create-queue --queue-name devops-mcp-embeddings-dead --attributes '{"MessageRetentionPeriod": "1209600"}' >/dev/null
awslocal sqs create-queue --queue-name devops-mcp-embeddings --attributes '{"MessageRetentionPeriod": "345600", "VisibilityTimeout": "30", "RedrivePolicy": "{\"deadLetterTargetArn\": \"arn:aws:sqs:us-east-1:000000000000:devops-mcp-embeddings-dead\", \"maxReceiveCount\": 5}"}' >/dev/null
awslocal sqs create-queue --queue-name devops-mcp-tasks-high-dead --attributes '{"MessageRetentionPeriod": "1209600"}' >/dev/null
awslocal sqs create-queue --queue-name devops-mcp-tasks-high --attributes '{"MessageRetentionPeriod": "345600", "VisibilityTimeout": "30", "RedrivePolicy": "{\"deadLetterTargetArn\": \"arn:aws:sqs:us-east-1:000000000000:devops-mcp-tasks-high-dead\", \"maxReceiveCount\": 5}"}' >/dev/null
awslocal sqs create-queue --queue-name devops-mcp-tasks-normal-dead --attributes '{"MessageRetentionPeriod": "1209600"}' >/dev/null
awslocal sqs create-queue --queue-name devops-mcp-tasks-normal --attributes '{"MessageRetentionPeriod": "345600", "VisibilityTimeout": "30", "RedrivePolicy": "{\"deadLetterTargetArn\": \"arn:aws:sqs:us-east-1:000000000000:devops-mcp-tasks-normal-dead\", \"maxReceiveCount\": 5}"}' >/dev/null
awslocal sqs create-queue --queue-name devops-mcp-tasks-low-dead --attributes '{"MessageRetentionPeriod": "1209600"}' >/dev/null
awslocal sqs create-queue --queue-name devops-mcp-tasks-low --attributes '{"MessageRetentionPeriod": "345600", "VisibilityTimeout": "30", "RedrivePolicy": "{\"deadLetterTargetArn\": \"arn:aws:sqs:us-east-1:000000000000:devops-mcp-tasks-low-dead\", \"maxReceiveCount\": 5}"}' >/dev/null
awslocal sqs create-queue --queue-name devops-mcp-contexts-dead.fifo --attributes '{"FifoQueue": "true", "MessageRetentionPeriod": "1209600"}' >/dev/null
awslocal sqs create-queue --queue-name devops-mcp-contexts.fifo --attributes '{"FifoQueue": "true", "DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId", "MessageRetentionPeriod": "345600", "VisibilityTimeout": "30", "RedrivePolicy": "{\"deadLetterTargetArn\": \"arn:aws:sqs:us-east-1:000000000000:devops-mcp-contexts-dead.fifo\", \"maxReceiveCount\": 5}"}' >/dev/null
awslocal sqs create-queue --queue-name devops-mcp-notifications-dead --attributes '{"MessageRetentionPeriod": "1209600"}' >/dev/null
awslocal sqs create-queue --queue-name devops-mcp-notifications --attributes '{"MessageRetentionPeriod": "345600", "VisibilityTimeout": "20", "RedrivePolicy": "{\"deadLetterTargetArn\": \"arn:aws:sqs:us-east-1:000000000000:devops-mcp-notifications-dead\", \"maxReceiveCount\": 5}"}' >/dev/null
awslocal s3api create-bucket --bucket devops-mcp >/dev/null
