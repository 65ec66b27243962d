"""The actions of the service that answer at once; receiving, which may wait, is the server's."""

from collections.abc import Callable, Mapping
from typing import Any

from devops_mcp.embedded.sqs import answers
from devops_mcp.embedded.sqs.call import Call
from devops_mcp.embedded.sqs.content import MAX_BYTES, md5_of_attributes, md5_of_body, size_of
from devops_mcp.embedded.sqs.drafts import Draft
from devops_mcp.embedded.sqs.errors import Refused, invalid_value
from devops_mcp.embedded.sqs.moves import MoveTask, MoveTasks
from devops_mcp.embedded.sqs.store import Store

_MAX_VISIBILITY_S = 43_200
_MAX_LISTED = 1_000
_TRACE_HEADER = "AWSTraceHeader"


class Actions:
    """Each reads its parameters, changes the store, and returns the answer. `started` is given every new message move task."""

    def __init__(self, store: Store, moves: MoveTasks, started: Callable[[MoveTask], None]) -> None:
        self._store = store
        self._moves = moves
        self._started = started
        self._by_name: Mapping[str, Callable[[Call], Mapping[str, Any]]] = {
            "CancelMessageMoveTask": self._cancel_move,
            "ChangeMessageVisibility": self._change_visibility,
            "ChangeMessageVisibilityBatch": self._change_visibility_batch,
            "CreateQueue": self._create_queue,
            "DeleteMessage": self._delete_message,
            "DeleteMessageBatch": self._delete_message_batch,
            "DeleteQueue": self._delete_queue,
            "GetQueueAttributes": self._get_attributes,
            "GetQueueUrl": self._get_url,
            "ListDeadLetterSourceQueues": self._list_sources,
            "ListMessageMoveTasks": self._list_moves,
            "ListQueueTags": self._list_tags,
            "ListQueues": self._list_queues,
            "PurgeQueue": self._purge,
            "SendMessage": self._send,
            "SendMessageBatch": self._send_batch,
            "SetQueueAttributes": self._set_attributes,
            "StartMessageMoveTask": self._start_move,
            "TagQueue": self._tag,
            "UntagQueue": self._untag,
        }

    def perform(self, action: str, call: Call) -> Mapping[str, Any]:
        """Raises `Refused`, also for an action that there is not."""
        handler = self._by_name.get(action)
        if handler is None:
            raise Refused("UnknownOperationException", f"there is no action {action!r} here")
        return handler(call)

    def _create_queue(self, call: Call) -> Mapping[str, Any]:
        queue = self._store.create(call.text("QueueName"), call.text_map("Attributes"), call.text_map("tags"))
        return {"QueueUrl": answers.queue_url(call, queue.name)}

    def _delete_queue(self, call: Call) -> Mapping[str, Any]:
        self._store.delete(call.queue_name)
        return {}

    def _get_url(self, call: Call) -> Mapping[str, Any]:
        return {"QueueUrl": answers.queue_url(call, self._store.queue(call.text("QueueName")).name)}

    def _list_queues(self, call: Call) -> Mapping[str, Any]:
        prefix, after = call.optional_text("QueueNamePrefix") or "", call.optional_text("NextToken") or ""
        limit = call.optional_integer("MaxResults", 1, _MAX_LISTED)
        names = sorted(name for name in self._store.queues if name.startswith(prefix) and name > after)
        page = names[: limit or _MAX_LISTED]
        answer: dict[str, Any] = {"QueueUrls": [answers.queue_url(call, name) for name in page]}
        if limit and len(names) > limit:
            answer["NextToken"] = page[-1]
        return answer if page else {}

    def _get_attributes(self, call: Call) -> Mapping[str, Any]:
        queue = self._store.queue(call.queue_name)
        attributes = answers.queue_attributes(queue, call.texts("AttributeNames"), self._store.clock())
        return {"Attributes": attributes} if attributes else {}

    def _set_attributes(self, call: Call) -> Mapping[str, Any]:
        self._store.set_attributes(call.queue_name, call.text_map("Attributes"))
        return {}

    def _purge(self, call: Call) -> Mapping[str, Any]:
        self._store.purge(call.queue_name)
        return {}

    def _list_tags(self, call: Call) -> Mapping[str, Any]:
        tags = self._store.queue(call.queue_name).tags
        return {"Tags": tags} if tags else {}

    def _tag(self, call: Call) -> Mapping[str, Any]:
        name = call.queue_name
        self._store.set_tags(name, {**self._store.queue(name).tags, **call.text_map("Tags")})
        return {}

    def _untag(self, call: Call) -> Mapping[str, Any]:
        name, keys = call.queue_name, call.texts("TagKeys")
        tags = self._store.queue(name).tags
        self._store.set_tags(name, {key: value for key, value in tags.items() if key not in keys})
        return {}

    def _send(self, call: Call) -> Mapping[str, Any]:
        return self._send_one(call.queue_name, call)

    def _send_batch(self, call: Call) -> Mapping[str, Any]:
        name = call.queue_name
        self._store.queue(name)
        entries = call.entries()
        size = sum(
            size_of(entry.optional_text("MessageBody") or "", entry.text_maps("MessageAttributes"))
            for entry in entries
        )
        if size > MAX_BYTES:
            raise Refused(
                "BatchRequestTooLong",
                f"Batch requests cannot be longer than {MAX_BYTES} bytes. You have sent {size} bytes.",
            )
        return answers.batch(entries, lambda entry: self._send_one(name, entry))

    def _send_one(self, name: str, entry: Call) -> Mapping[str, Any]:
        body, attributes = entry.text("MessageBody"), entry.text_maps("MessageAttributes")
        system = entry.text_maps("MessageSystemAttributes")
        draft = Draft(
            body=body,
            attributes=attributes,
            system={key: value.get("StringValue", "") for key, value in _trace_header_only(system).items()},
            delay_s=entry.optional_integer("DelaySeconds", 0, 900),
            group=entry.optional_text("MessageGroupId"),
            deduplication_id=entry.optional_text("MessageDeduplicationId"),
        )
        sent = self._store.send(name, draft)
        answer = {"MessageId": sent.message_id, "MD5OfMessageBody": md5_of_body(body)}
        if attributes:
            answer["MD5OfMessageAttributes"] = md5_of_attributes(attributes)
        if system:
            answer["MD5OfMessageSystemAttributes"] = md5_of_attributes(system)
        if self._store.queue(name).settings.fifo:
            answer["SequenceNumber"] = str(sent.sequence)
        return answer

    def _delete_message(self, call: Call) -> Mapping[str, Any]:
        return self._delete_one(call.queue_name, call)

    def _delete_message_batch(self, call: Call) -> Mapping[str, Any]:
        name = call.queue_name
        self._store.queue(name)
        return answers.batch(call.entries(), lambda entry: self._delete_one(name, entry))

    def _delete_one(self, name: str, entry: Call) -> Mapping[str, Any]:
        self._store.acknowledge(name, entry.text("ReceiptHandle"))
        return {}

    def _change_visibility(self, call: Call) -> Mapping[str, Any]:
        return self._change_visibility_of_one(call.queue_name, call)

    def _change_visibility_batch(self, call: Call) -> Mapping[str, Any]:
        name = call.queue_name
        self._store.queue(name)
        return answers.batch(call.entries(), lambda entry: self._change_visibility_of_one(name, entry))

    def _change_visibility_of_one(self, name: str, entry: Call) -> Mapping[str, Any]:
        visibility_s = entry.integer("VisibilityTimeout", 0, _MAX_VISIBILITY_S)
        self._store.change_visibility(name, entry.text("ReceiptHandle"), visibility_s)
        return {}

    def _list_sources(self, call: Call) -> Mapping[str, Any]:
        name = self._store.queue(call.queue_name).name
        return {"queueUrls": [answers.queue_url(call, queue.name) for queue in self._store.sources_of(name)]}

    def _start_move(self, call: Call) -> Mapping[str, Any]:
        rate = call.optional_integer("MaxNumberOfMessagesPerSecond", 1, 500)
        task = self._moves.start(call.text("SourceArn"), call.optional_text("DestinationArn"), rate)
        self._started(task)
        return {"TaskHandle": task.handle}

    def _list_moves(self, call: Call) -> Mapping[str, Any]:
        limit = call.optional_integer("MaxResults", 1, 10) or 1
        tasks = self._moves.recent(call.text("SourceArn"), limit)
        return {"Results": [answers.move_task(task) for task in tasks]}

    def _cancel_move(self, call: Call) -> Mapping[str, Any]:
        return {"ApproximateNumberOfMessagesMoved": self._moves.cancel(call.text("TaskHandle")).moved}


def _trace_header_only(system: Mapping[str, dict[str, str]]) -> Mapping[str, dict[str, str]]:
    for name in system.keys() - {_TRACE_HEADER}:
        raise invalid_value(f"Message system attribute name '{name}' is invalid.")
    return system
