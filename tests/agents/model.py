"""A scripted model with OpenAI's API, as far as the programs of the guide use it.

It answers a prompt of the form `CASE NONCE` with a call of `run_code`, and the result of that call
with a text that quotes the result. It never computes the hash that its programs compute.
"""

import http.server
import json
import sys
import threading
import uuid

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)

PROGRAMS = {
    "hash": "import hashlib\nhashlib.sha256(b'NONCE').hexdigest()",
    "failure": """import hashlib
print('log ' * 100_000, 'the last log')
raise ValueError(hashlib.sha256(b'NONCE').hexdigest())
""",
    "excess": """import belljar
def main():
    try:
        belljar.storage.list()
    except Exception as error:
        print(error)
    return 'x' * 100_000
""",
    "image": f"import base64, belljar\nbelljar.display(base64.b64decode('{PIXEL}'))",
}


def call(content):
    """The arguments of the call for a prompt, which is text or a list of one text."""
    prompt = content if isinstance(content, str) else content[0]["text"]
    case, nonce = prompt.split()
    return json.dumps({"language": "python", "code": PROGRAMS[case].replace("NONCE", nonce)})


def quoted(content):
    """The answer that quotes the result of a call."""
    if isinstance(content, str):
        return "The tool returned: " + content
    parts = [part.get("text") or f"a part of type {part['type']}" for part in content]
    return "The tool returned: " + "\n".join(parts)


def check_tool(function):
    properties = function["parameters"]["properties"]
    assert function["name"] == "run_code" and "Run" in function["description"], function
    assert {"javascript", "typescript", "python"} <= set(properties["language"]["enum"]), function
    assert properties["code"]["type"] == "string", function


def chat_completion(request):
    [tool] = request["tools"]
    check_tool(tool["function"])
    last = request["messages"][-1]
    message = {"role": "assistant", "content": None}
    if last["role"] == "tool":
        # OpenAI accepts no images here.
        assert isinstance(last["content"], str), last
        message["content"] = quoted(last["content"])
    else:
        function = {"name": "run_code", "arguments": call(last["content"])}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    reason = "tool_calls" if "tool_calls" in message else "stop"
    choices = [{"index": 0, "finish_reason": reason, "message": message}]
    return {"object": "chat.completion", "created": 1, "choices": choices}


def response(request):
    [tool] = request["tools"]
    check_tool(tool)
    last = request["input"][-1]
    if last.get("type") == "function_call_output":
        content = [{"type": "output_text", "text": quoted(last["output"]), "annotations": []}]
        item = {"type": "message", "id": "msg_1", "role": "assistant", "content": content}
    else:
        item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "run_code"}
        item["arguments"] = call(last["content"])
    item["status"] = "completed"
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    return {"object": "response", "created_at": 1, "output": [item], "usage": usage}


class Model(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        answers = {"/v1/chat/completions": chat_completion, "/v1/responses": response}
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        # LangChain treats two messages with the same id as one.
        common = {"id": f"answer_{uuid.uuid4().hex}", "model": request["model"]}
        answer = common | answers[self.path](request)
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
sys.stdin.read()  # The test closes it when it is over, however it ends.
