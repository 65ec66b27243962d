"""What the server refuses, under the names AWS uses on the wire."""

_OLDER_CODES = {
    "BatchEntryIdsNotDistinct": "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
    "BatchRequestTooLong": "AWS.SimpleQueueService.BatchRequestTooLong",
    "EmptyBatchRequest": "AWS.SimpleQueueService.EmptyBatchRequest",
    "InvalidBatchEntryId": "AWS.SimpleQueueService.InvalidBatchEntryId",
    "InvalidParameterValueException": "InvalidParameterValue",
    "MessageNotInflight": "AWS.SimpleQueueService.MessageNotInflight",
    "MissingRequiredParameterException": "MissingParameter",
    "QueueDoesNotExist": "AWS.SimpleQueueService.NonExistentQueue",
    "QueueNameExists": "QueueAlreadyExists",
    "TooManyEntriesInBatchRequest": "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
}
"""Codes of the older query protocol, which clients still show: the header `x-amzn-query-error`."""


class Refused(Exception):
    """An error of the caller's. `kind` is the exception's name in the service's model."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message

    @property
    def code(self) -> str:
        return _OLDER_CODES.get(self.kind, self.kind)


def invalid_value(message: str) -> Refused:
    return Refused("InvalidParameterValueException", message)


def invalid_parameter(value: object, parameter: str, reason: str) -> Refused:
    return invalid_value(f"Value {value} for parameter {parameter} is invalid. Reason: {reason}")


def missing(parameter: str) -> Refused:
    return Refused(
        "MissingRequiredParameterException", f"The request must contain the parameter {parameter}."
    )


def queue_does_not_exist() -> Refused:
    return Refused("QueueDoesNotExist", "The specified queue does not exist.")


def not_found(message: str) -> Refused:
    return Refused("ResourceNotFoundException", message)


def invalid_handle(handle: str) -> Refused:
    return Refused(
        "ReceiptHandleIsInvalid", f'The input receipt handle "{handle}" is not a valid receipt handle.'
    )
