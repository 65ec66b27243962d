"""Whom a message of the client's, or of the server's, is for in `devops-mcp stdio`."""

import json

import pytest

from devops_mcp.cli.questions import Questions


def asked() -> Questions:
    """The server has asked its question "q", which the client knows as 1."""
    questions = Questions()
    question = {"jsonrpc": "2.0", "id": "q", "method": "roots/list"}
    told = questions.for_client(json.dumps(question).encode(), question)
    assert told is not None
    assert json.loads(told)["id"] == 1
    return questions


@pytest.mark.parametrize("said", [1, "1", 1.0])
def test_an_answer_is_known_by_its_number_however_the_client_writes_it(said):
    answer = {"jsonrpc": "2.0", "id": said, "result": {}}
    told = asked().for_server(json.dumps(answer).encode(), answer)
    assert told is not None
    assert json.loads(told) == {"jsonrpc": "2.0", "id": "q", "result": {}}


@pytest.mark.parametrize("said", [2, "one", 1.5, True, [1], "9" * 5000])
def test_an_answer_to_nothing_that_was_asked_goes_nowhere(said):
    answer = {"jsonrpc": "2.0", "id": said, "result": {}}
    assert asked().for_server(json.dumps(answer).encode(), answer) is None


def test_what_is_neither_a_request_nor_an_answer_is_the_servers_to_refuse():
    message = {"jsonrpc": "2.0", "id": 5}
    line = json.dumps(message).encode()
    assert asked().for_server(line, message) == line


@pytest.mark.parametrize(
    ("params", "heard"), [({"requestId": "q"}, 1), ({"requestId": "other"}, None), ({}, "as it is")]
)
def test_a_cancellation_reaches_the_client_unless_it_is_of_what_it_was_not_asked(params, heard):
    message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
    line = json.dumps(message).encode()
    told = asked().for_client(line, message)
    if heard == 1:
        assert told is not None
        assert json.loads(told)["params"] == {"requestId": 1}
    else:
        assert told == (line if heard else None)
