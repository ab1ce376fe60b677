"""An OpenAI server of our own: real HTTP for real clients, answers that follow from the question, and no network.

`Echo: QUESTION` is the answer; a question with the word `fail` gets a 500, one with `tool` a call of a tool.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

MODEL = "gpt-test-2026"
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
TOOL_CALL = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}


def question_of(asked: dict[str, Any]) -> str:
    """What the last message says, or the text of a plain completion."""
    said = asked.get("messages") or asked.get("input") or asked.get("prompt") or ""
    last = said[-1] if isinstance(said, list) else said
    return str(last["content"] if isinstance(last, dict) else last)


def chat(asked: dict[str, Any]) -> dict[str, Any]:
    question = question_of(asked)
    message: dict[str, Any] = {"role": "assistant", "content": f"Echo: {question}"}
    if "tool" in question:
        message = {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}
    reason = "tool_calls" if "tool" in question else "stop"
    choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
    return {"id": "c-1", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice], "usage": USAGE}


def chat_chunks(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    message = chat(asked)["choices"][0]
    said = message["message"]
    words = (said["content"] or "").split(" ") if said["content"] else []
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word if i == 0 else f" {word}"} for i, word in enumerate(words)]
    for call in said.get("tool_calls", ()):
        function = call["function"]
        deltas += [{"tool_calls": [{"index": 0, **call, "function": {"name": function["name"], "arguments": ""}}]}]
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": function["arguments"]}}]}]
    head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    for delta in deltas:
        yield head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield head | {"choices": [{"index": 0, "delta": {}, "finish_reason": message["finish_reason"]}]}
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield head | {"choices": [], "usage": USAGE}


def response(asked: dict[str, Any], status: str = "completed") -> dict[str, Any]:
    text = {"type": "output_text", "text": f"Echo: {question_of(asked)}", "annotations": []}
    message = {"id": "m-1", "type": "message", "role": "assistant", "status": status, "content": [text]}
    usage = {
        "input_tokens": 11,
        "output_tokens": 7,
        "total_tokens": 18,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    empty = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None, "incomplete_details": None}
    head = {"id": "r-1", "object": "response", "created_at": 1, "model": MODEL, "status": status}
    return head | empty | {"output": [message], "usage": usage}


def response_events(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    place = {"item_id": "m-1", "output_index": 0, "content_index": 0, "logprobs": []}
    yield {"type": "response.created", "sequence_number": 0, "response": response(asked, "in_progress")}
    yield {"type": "response.output_text.delta", "sequence_number": 1, "delta": "Echo: ", **place}
    yield {"type": "response.completed", "sequence_number": 2, "response": response(asked)}


def completion(asked: dict[str, Any]) -> dict[str, Any]:
    choice = {"index": 0, "text": f"Echo: {question_of(asked)}", "finish_reason": "stop", "logprobs": None}
    head = {"id": "t-1", "object": "text_completion", "created": 1, "model": MODEL}
    return head | {"choices": [choice], "usage": USAGE}


def embedding(_: dict[str, Any]) -> dict[str, Any]:
    vector = {"object": "embedding", "index": 0, "embedding": [0.0, 1.0]}
    return {"object": "list", "data": [vector], "model": MODEL, "usage": {"prompt_tokens": 1, "total_tokens": 1}}


WHOLE = {"chat/completions": chat, "responses": response, "completions": completion, "embeddings": embedding}
STREAMED = {"chat/completions": chat_chunks, "responses": response_events}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.removeprefix("/v1/")
        if "fail" in question_of(asked):
            self._answer(500, "application/json", json.dumps({"error": {"message": "broken", "type": "server"}}))
        elif asked.get("stream"):
            named = path == "responses"
            events = [
                (f"event: {each['type']}\n" if named else "") + f"data: {json.dumps(each)}\n\n"
                for each in STREAMED[path](asked)
            ]
            self._answer(200, "text/event-stream", "".join(events) + ("" if named else "data: [DONE]\n\n"))
        else:
            self._answer(200, "application/json", json.dumps(WHOLE[path](asked)))

    def _answer(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def fake_openai() -> Iterator[str]:
    """The base URL of the server, for a client of OpenAI's."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.shutdown()
            thread.join()
