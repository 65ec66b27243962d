"""A small SQS-compatible queue server for one machine: `python -m devops_mcp.embedded.sqs`.

It speaks AWS JSON 1.0, keeps its messages in memory and an append-only journal, and checks no signatures: listen on the loopback address
only. What it does is held to one conformance suite that runs unchanged against it and against LocalStack.

Not there: policies and permissions, encryption, the older query protocol, the waiting times of 60 s after PurgeQueue and DeleteQueue,
the limit of messages in flight. A message move task that runs when the server stops is forgotten; no message is.
"""
