"""A small server that answers as the services that embed document it: OpenAI's shape, Google's, and Bedrock's."""

import json
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from support.embedding import vector_of


class EmbeddingFake:
    """Answers every request by `answer`, unless answers wait in `first`; keeps what it was asked."""

    def __init__(self, answer: Callable[[dict[str, Any]], Response]) -> None:
        self._answer = answer
        self.first: list[Response] = []
        self.requests: list[Request] = []
        self.bodies: list[dict[str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = json.loads(await request.body())
        self.requests.append(request)
        self.bodies.append(body)
        answer = self.first.pop(0) if self.first else self._answer(body)
        await answer(scope, receive, send)


def openai(body: dict[str, Any]) -> Response:
    """https://platform.openai.com/docs/api-reference/embeddings/create; in any order, since each says its index."""
    dimensions = body.get("dimensions", 8)
    data = [
        {"object": "embedding", "index": index, "embedding": vector_of(text, dimensions)}
        for index, text in enumerate(body["input"])
    ]
    counted = sum(len(text.split()) for text in body["input"])
    usage = {"prompt_tokens": counted, "total_tokens": counted}
    return JSONResponse({"object": "list", "data": data[::-1], "model": body["model"], "usage": usage})


def google(body: dict[str, Any]) -> Response:
    """https://ai.google.dev/api/embeddings#method:-models.batchembedcontents; shortened vectors are not of length 1."""
    return JSONResponse(
        {
            "embeddings": [
                {
                    "values": [
                        value * 0.7
                        for value in vector_of(
                            one["content"]["parts"][0]["text"], one["outputDimensionality"]
                        )
                    ]
                }
                for one in body["requests"]
            ]
        }
    )


def bedrock(body: dict[str, Any]) -> Response:
    """Titan's shape for `inputText`, Cohere's for `texts` (with types asked for, the answer is by type)."""
    if "inputText" in body:
        vector = vector_of(body["inputText"], body["dimensions"])
        counted = len(body["inputText"].split())
        answer: dict[str, Any] = {
            "embedding": vector,
            "embeddingsByType": {"float": vector},
            "inputTextTokenCount": counted,
        }
        return JSONResponse(answer)
    vectors = [vector_of(text, 8) for text in body["texts"]]
    answer = {
        "id": "1",
        "response_type": "embeddings_by_type",
        "embeddings": {"float": vectors},
        "texts": body["texts"],
    }
    counted = sum(len(text.split()) for text in body["texts"])
    return JSONResponse(answer, headers={"X-Amzn-Bedrock-Input-Token-Count": str(counted)})


def openai_error(
    status: int, code: str | None, message: str = "no", headers: dict[str, str] | None = None
) -> Response:
    error = {"message": message, "type": "requests", "param": None, "code": code}
    return JSONResponse({"error": error}, status, headers)


def google_error(status: int, name: str, *, retry_delay: str | None = None) -> Response:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": retry_delay}]
    error = {"code": status, "message": "no", "status": name, "details": details if retry_delay else []}
    return JSONResponse({"error": error}, status)


def bedrock_error(status: int, name: str) -> Response:
    return JSONResponse(
        {"message": "no"}, status, {"x-amzn-ErrorType": f"{name}:http://internal.amazon.com/"}
    )
