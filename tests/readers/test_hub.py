"""Models by `org/name`: against a small Hub of this machine, which keeps a log of what it is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session, logging
from safetensors.numpy import save_file

from memcalc.errors import FileError
from memcalc.readers import hub
from memcalc.readers.hub import Fetched, fetch, is_hub_name
from memcalc.readers.model_files import read_hub_model
from memcalc.readers.safetensors import read_safetensors
from memcalc.readers.tensors import StoredTensor

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NEXT_COMMIT = "f" * 40
TOKEN = "hf_" + "secret" * 5
CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_attention_heads": 4,
    "num_hidden_layers": 2, "intermediate_size": 128, "vocab_size": 1000, "torch_dtype": "bfloat16",
}  # fmt: skip
A = StoredTensor("model.embed_tokens.weight", (1000, 64), "BF16", 128_000)
B = StoredTensor("model.norm.weight", (64,), "F32", 256)
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = {"metadata": {"total_size": 128_256}, "weight_map": {A.name: SHARDS[0], B.name: SHARDS[1]}}


def safetensors(*tensors: StoredTensor, padding: int = 0) -> bytes:
    header, at = {}, 0
    for tensor in tensors:
        end = at + tensor.bytes
        header[tensor.name] = {"dtype": tensor.type, "shape": tensor.shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode() + b" " * padding
    return len(text).to_bytes(8, "little") + text + bytes(at)


class Hub(ThreadingHTTPServer):
    """The paths of the Hub that models need; `hook` may answer in its place."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"config.json": json.dumps(CONFIG).encode()}
        self.commit = COMMIT
        self.hook: Callable[[Handler, str], bool] = lambda _handler, _file: False
        self.log: list[tuple[str, str, str]] = []
        self.tokens: set[str | None] = set()
        self.agents: set[str] = set()
        self.encodings: set[str | None] = set()
        self.ranges = True
        self.sent = 0
        self.over = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """Clients may go away in the middle of an answer."""

    @property
    def asked(self) -> list[str]:
        return [file for _, _, file in self.log]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *args):
        pass

    def do_GET(self):
        path = unquote(self.path)
        self.server.tokens.add(self.headers["Authorization"])
        self.server.agents.add(self.headers["User-Agent"])
        self.server.encodings.add(self.headers["Accept-Encoding"])
        if path.startswith("/api/models/org/name"):
            self.server.log.append((self.command, "", "api"))
            if not self.server.hook(self, "api"):
                listed = [{"rfilename": name} for name in self.server.files]
                self.answer(json.dumps({"sha": self.server.commit, "siblings": listed}).encode())
            return
        repository, _, rest = path[1:].partition("/resolve/")
        revision, _, file = rest.rpartition("/")
        self.server.log.append((self.command, revision, file))
        if self.server.hook(self, file):
            return
        if repository != "org/name":
            self.refuse(404, "RepoNotFound")
        elif revision not in ("main", "refs/pr/1", COMMIT, NEXT_COMMIT):
            self.refuse(404, "RevisionNotFound")
        elif file not in self.server.files:
            self.refuse(404, "EntryNotFound", {"X-Repo-Commit": self.server.commit})
        else:
            self.answer(self.server.files[file])

    do_HEAD = do_GET  # noqa: N815 - the name that the base class looks for

    def refuse(self, status: int, code: str = "", headers: dict[str, str] | None = None) -> bool:
        more = {"X-Error-Code": code, "X-Error-Message": f"no, {TOKEN}"} if code else {}
        return self.answer(b'{"error": "no"}', status, {**more, **(headers or {})})

    def answer(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> bool:
        whole = len(content)
        headers = {"ETag": f'"{hash(content)}"', "X-Repo-Commit": self.server.commit, **(headers or {})}
        span = self.headers["Range"]
        if span and status == 200 and self.server.ranges:
            first, _, last = span.removeprefix("bytes=").partition("-")
            status, content = 206, content[int(first) : int(last) + 1]
            headers["Content-Range"] = f"bytes {first}-{int(first) + len(content) - 1}/{whole}"
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            for at in range(0, len(content), 2**16):
                self.server.sent += self.wfile.write(content[at : at + 2**16])
        return True


@pytest.fixture
def server() -> Iterator[Hub]:
    found = Hub()
    thread = threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield found
    found.over.set()
    found.shutdown()
    found.server_close()
    thread.join()


@pytest.fixture
def point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Point the library, which reads its environment when it is imported, to an address."""

    def one(url: str, **more: object) -> None:
        monkeypatch.setenv("HF_ENDPOINT", url)
        monkeypatch.setattr(constants, "ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        for name, value in more.items():
            monkeypatch.setattr(constants, name, value)

    proxies = [name for name in os.environ if name.lower().endswith("_proxy")]
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE", *proxies):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "stored_tokens"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield one
    close_session()


@pytest.fixture
def online(server: Hub, point: Callable[..., None]) -> Hub:
    point(server.url)
    return server


def snapshot(tmp_path: Path, commit: str = COMMIT) -> Path:
    return tmp_path / "hub" / "models--org--name" / "snapshots" / commit


def refused(name: str = "org/name") -> tuple[str, str]:
    with pytest.raises(FileError) as caught:
        fetch(name)
    error = caught.value
    assert error.exit_code == 3
    assert TOKEN not in f"{error.message}{error.hint}{error.args}"
    assert (error.message + (error.hint or "")).isprintable()
    return error.message, error.hint or ""


@pytest.mark.parametrize(
    "word",
    [
        "org/name",
        "Qwen/Qwen3-8B",
        "a_b/c.d-e",
        "org/name@main",
        "org/name@refs/pr/1",
        "org/name@v1.0",
        "_a/_b",
    ],
)
def test_names(word: str):
    assert is_hub_name(word)


@pytest.mark.parametrize(
    "word",
    [
        "", "name", "/", "org/", "/name", "a/b/c", "./name", "../name", "org/.name", "-org/name", "org/-name",
        "org/name.toml", "models/config.json", "m/x.safetensors", "m/x.GGUF", "org/na me", "org/name\n", "orgé/name",
        "~/name", "C:\\models/x", "org/name@", "org/name@../x", "org/name@a//b", "org/name@-x", "a@b/c", "org/n@x.json",
    ],
)  # fmt: skip
def test_words_that_are_no_names(word: str):
    assert not is_hub_name(word)
    with pytest.raises(FileError, match="is not a model on the Hub"):
        fetch(word)


def test_config_of_a_repository_without_weights(online: Hub, tmp_path: Path):
    found = fetch("org/name")
    assert found == Fetched(str(snapshot(tmp_path)), None, None, COMMIT)
    assert json.loads(Path(found.folder, "config.json").read_bytes()) == CONFIG
    assert online.log[0] == ("GET", "main", "config.json")
    assert {revision for _, revision, _ in online.log[1:]} == {COMMIT}
    assert online.tokens == {None}
    assert online.encodings == {"identity"}


def test_tensors_of_one_file(online: Hub):
    online.files["model.safetensors"] = safetensors(A, B)
    assert fetch("org/name")[1:] == ((A, B), 128_256, COMMIT)


def test_tensors_of_a_file_that_its_own_library_wrote(online: Hub, tmp_path: Path):
    path = tmp_path / "real.safetensors"
    save_file({"w": np.zeros((3, 5), np.float16), "b": np.zeros((), np.int64)}, path, {"format": "pt"})
    online.files["model.safetensors"] = path.read_bytes()
    found = fetch("org/name").tensors
    assert found == read_safetensors(path)
    assert set(found) == {StoredTensor("w", (3, 5), "F16", 30), StoredTensor("b", (), "I64", 8)}


def test_tensors_of_shards(online: Hub):
    online.files |= {"model.safetensors.index.json": json.dumps(INDEX).encode()}
    online.files |= {SHARDS[0]: safetensors(A), SHARDS[1]: safetensors(B)}
    assert fetch("org/name")[1:] == ((A, B), 128_256, COMMIT)


def test_more_shards_than_are_asked_at_once(online: Hub):
    parts = {f"model-{at:05}.safetensors": B._replace(name=f"t{at}") for at in range(50)}
    weight_map = {tensor.name: shard for shard, tensor in parts.items()}
    online.files["model.safetensors.index.json"] = json.dumps({"weight_map": weight_map}).encode()
    online.files |= {shard: safetensors(tensor) for shard, tensor in parts.items()}
    assert fetch("org/name")[1:3] == (tuple(parts.values()), 50 * 256)


def test_model_is_read_with_its_stored_bytes(online: Hub):
    online.files["model.safetensors"] = safetensors(A, B)
    model = read_hub_model("org/name")
    assert model.name == "name"
    assert sum(model.checkpoint_bytes.values()) == 128_256


def test_quantisation_beside_the_config_is_fetched(online: Hub):
    online.files["hf_quant_config.json"] = b'{"quantization": {}}'
    assert Path(fetch("org/name").folder, "hf_quant_config.json").read_bytes() == b'{"quantization": {}}'


def test_quantisation_in_the_config_is_enough(online: Hub):
    online.files["config.json"] = json.dumps({**CONFIG, "quantization_config": {}}).encode()
    fetch("org/name")
    assert "hf_quant_config.json" not in online.asked


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("padding", [0, 300_000])
def test_weights_are_never_fetched(online: Hub, *, ranges: bool, padding: int):
    online.ranges = ranges
    big = StoredTensor("w", (50_000_000,), "I8", 50_000_000)
    online.files["model.safetensors"] = safetensors(big, padding=padding)
    assert fetch("org/name").tensors == (big,)
    # Without ranges what is on its way when the connection is closed was sent in vain.
    assert online.sent < (1_000_000 if ranges else 20_000_000)


def test_what_is_cached_is_not_fetched_again(online: Hub):
    online.files["model.safetensors.index.json"] = json.dumps(INDEX).encode()
    online.files |= {SHARDS[0]: safetensors(A), SHARDS[1]: safetensors(B)}
    first = fetch("org/name")
    online.log.clear()
    assert fetch("org/name") == first
    assert "model.safetensors.index.json" not in online.asked


def test_cached_weights_are_read_in_place(online: Hub):
    folder = Path(fetch("org/name").folder)
    (folder / "model.safetensors").write_bytes(safetensors(A))
    online.log.clear()
    assert fetch("org/name")[1:3] == ((A,), A.bytes)
    assert "model.safetensors" not in online.asked


@pytest.mark.usefixtures("online")
def test_a_lone_cached_shard_is_not_the_model():
    folder = Path(fetch("org/name").folder)
    (folder / SHARDS[1]).write_bytes(safetensors(B))
    assert fetch("org/name").tensors is None


def test_a_new_commit_is_taken(online: Hub, tmp_path: Path):
    fetch("org/name")
    online.commit = NEXT_COMMIT
    online.files["config.json"] = json.dumps({**CONFIG, "vocab_size": 2000}).encode()
    found = fetch("org/name")
    assert found.folder == str(snapshot(tmp_path, NEXT_COMMIT))
    assert (tmp_path / "hub/models--org--name/refs/main").read_text() == NEXT_COMMIT


@pytest.mark.parametrize("revision", ["refs/pr/1", COMMIT])
def test_revision(online: Hub, tmp_path: Path, revision: str):
    assert fetch(f"org/name@{revision}").folder == str(snapshot(tmp_path))
    assert online.log[0][1] == revision
    assert read_hub_model(f"org/name@{revision}").name == "name"


@pytest.mark.usefixtures("online")
def test_library_finds_what_was_cached():
    fetch("org/name@refs/pr/1")
    path = huggingface_hub.hf_hub_download(
        "org/name", "config.json", revision="refs/pr/1", local_files_only=True
    )
    assert json.loads(Path(path).read_bytes()) == CONFIG


def test_redirects_keep_the_token_at_home(online: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    other = Hub()
    threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
    other.files["model.safetensors"] = safetensors(A)

    def elsewhere(handler: Handler, file: str) -> bool:
        if file == "model.safetensors":
            return handler.answer(
                b"", 302, {"Location": f"{other.url}/org/name/resolve/main/model.safetensors"}
            )
        if handler.path.endswith("/main/config.json"):
            return handler.answer(b"", 307, {"Location": handler.path.replace("main", COMMIT)})
        return False

    online.hook = elsewhere
    assert fetch("org/name").tensors == (A,)
    assert online.tokens == {f"Bearer {TOKEN}"}
    assert other.tokens == {None}
    other.shutdown()
    other.server_close()


def test_nothing_of_this_machine_is_told(online: Hub):
    before = constants.HF_HUB_DISABLE_TELEMETRY
    fetch("org/name")
    assert before == constants.HF_HUB_DISABLE_TELEMETRY
    assert all("agent/" not in word and "torch/" not in word for word in online.agents)


def test_library_is_quiet_for_as_long_as_it_is_used(online: Hub):
    before, levels = logging.get_verbosity(), []
    online.hook = lambda handler, _file: levels.append(logging.get_verbosity()) or handler.refuse(404)
    refused()
    assert set(levels) == {50}
    assert logging.get_verbosity() == before


# Refusals


@pytest.mark.usefixtures("online")
def test_no_such_model():
    message, hint = refused("org/other")
    assert message == "org/other: there is no such model on the Hub at 127.0.0.1, and no such folder here"
    assert hint == "check the spelling; for a private one set HF_TOKEN"


@pytest.mark.usefixtures("online")
def test_no_such_revision():
    assert refused("org/name@v9")[0] == "org/name@v9: org/name has no revision v9"


def test_name_that_the_hub_does_not_allow(online: Hub):
    assert refused("org/na--me")[0] == "org/na--me: is not a name that the Hub allows"
    assert not online.log


REFUSALS = [
    (401, "RepoNotFound", False, "shows no such model to those without a token", "set HF_TOKEN"),
    (401, "", False, "shows no such model to those without a token", "set HF_TOKEN"),
    (401, "", True, "does not take the token", "HF_TOKEN or the stored token"),
    (401, "GatedRepo", False, "is gated", "accept its terms on its page, then set HF_TOKEN"),
    (403, "GatedRepo", True, "is gated", "with the account of the token"),
    (403, "", False, "gives no access", "set HF_TOKEN"),
    (403, "", True, "gives no access", "what the token may read"),
    (404, "RepoNotFound", True, "there is no such model", "check the spelling"),
    (418, "", False, "answers 418", "check HF_ENDPOINT"),
]


@pytest.mark.parametrize(("status", "code", "token", "message", "hint"), REFUSALS)
def test_refusal(
    online: Hub,
    monkeypatch: pytest.MonkeyPatch,
    *,
    status: int,
    code: str,
    token: bool,
    message: str,
    hint: str,
):
    fetch("org/name")
    if token:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
    online.hook = lambda handler, _file: handler.refuse(status, code)
    # What is cached does not hide that the Hub says no.
    found = refused()
    assert message in found[0]
    assert hint in found[1]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_weights_that_are_refused_are_done_without(online: Hub, status: int):
    online.files["model.safetensors.index.json"] = json.dumps(INDEX).encode()
    online.hook = lambda handler, file: file in SHARDS and handler.refuse(status)
    assert fetch("org/name")[1:3] == (None, 128_256)


def test_only_gguf_files(online: Hub):
    online.files = {"README.md": b"", "tiny-Q8_0.gguf": b"", "tiny-Q4_K_M.gguf": b""}
    message, hint = refused()
    assert message == "org/name: has no config.json"
    assert hint == "download one of its GGUF files, like 'tiny-Q4_K_M.gguf', and name that"


def test_adapter(online: Hub):
    online.files = {"adapter_config.json": b"{}"}
    assert refused() == ("org/name: has no config.json", "it is an adapter: name the model that it adapts")


@pytest.mark.parametrize(
    "listing", [b"[]", b'{"siblings": 3}', b'{"siblings": [3, {}, {"rfilename": 3}]}', b"no"]
)
def test_no_config_and_no_list_of_files(online: Hub, listing: bytes):
    online.files = {}
    online.hook = lambda handler, file: file == "api" and handler.answer(listing)
    assert refused()[0] == "org/name: has no config.json"


def test_mirror_that_tells_less(online: Hub):
    online.hook = lambda handler, _file: handler.refuse(404)
    assert "there is no such model" in refused()[0]
    online.hook = lambda handler, file: file == "config.json" and handler.refuse(404)
    assert refused()[0] == "org/name: has no config.json"


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize("token", ["hf_sécret", "hf_se\x07cret"])
def test_token_that_cannot_be_sent(monkeypatch: pytest.MonkeyPatch, token: str):
    monkeypatch.setenv("HF_TOKEN", token)
    message, hint = refused()
    assert message == "org/name: the token has characters that no token has"
    assert "cret" not in message + hint


# No answer


def closed_port() -> str:
    spare = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    spare.server_close()
    return f"http://127.0.0.1:{spare.server_port}"


def test_no_server(point: Callable[..., None]):
    point(closed_port())
    message, hint = refused()
    assert message == "org/name: the Hub at 127.0.0.1 cannot be reached: connection refused"
    assert hint == "check the connection, or give a folder with config.json"


def test_no_server_and_cached(online: Hub, point: Callable[..., None]):
    online.files["model.safetensors"] = safetensors(A)
    found = fetch("org/name")
    assert found.tensors == (A,)
    point(closed_port())
    assert fetch("org/name") == found._replace(tensors=None, total_bytes=None)
    Path(found.folder, "model.safetensors").write_bytes(safetensors(A))
    assert fetch("org/name") == found


def test_offline_and_cached(online: Hub, point: Callable[..., None]):
    online.files["model.safetensors.index.json"] = json.dumps(INDEX).encode()
    online.files |= {SHARDS[0]: safetensors(A), SHARDS[1]: safetensors(B)}
    found = fetch("org/name")
    online.log.clear()
    point(online.url, HF_HUB_OFFLINE=True)
    assert fetch("org/name") == found._replace(tensors=None)
    for shard in SHARDS:
        Path(found.folder, shard).write_bytes(online.files[shard])
    assert fetch("org/name") == found
    assert not online.log


def test_offline_and_not_cached(online: Hub, point: Callable[..., None]):
    point(online.url, HF_HUB_OFFLINE=True)
    message, hint = refused()
    assert message == "org/name: is not in the cache, and HF_HUB_OFFLINE forbids to fetch it"
    assert hint == "unset HF_HUB_OFFLINE, or give a folder with config.json"
    assert not online.log


@pytest.mark.parametrize("status", [408, 429, 500, 503, 304])
def test_status_that_may_pass(online: Hub, status: int):
    online.hook = lambda handler, _file: handler.refuse(status, headers={"Retry-After": "3600"})
    start = time.monotonic()
    message, hint = refused()
    assert f"answers {status}" in message
    assert hint.startswith("try again later")
    assert online.asked == ["config.json"]
    online.hook = lambda _handler, _file: False
    found = fetch("org/name")
    online.hook = lambda handler, _file: handler.refuse(status)
    assert fetch("org/name") == found
    assert time.monotonic() - start < 5


def silent(handler: Handler, _file: str) -> bool:
    return handler.server.over.wait(30)


def drip(handler: Handler, start: bytes, piece: bytes) -> bool:
    handler.wfile.write(start)
    while not handler.server.over.wait(0.05):
        handler.wfile.write(piece)
    return True


OK = f"HTTP/1.1 200 OK\r\nX-Repo-Commit: {COMMIT}\r\n".encode()
SLOW = {
    "says nothing": silent,
    "headers without an end": lambda handler, _file: drip(handler, OK, b"X-A: b\r\n"),
    "body byte by byte": lambda handler, _file: drip(handler, OK + b"Content-Length: 100000\r\n\r\n", b" "),
    "redirects slowly": lambda handler, _file: (
        handler.server.over.wait(0.3) or handler.answer(b"", 302, {"Location": handler.path})
    ),
}


@pytest.mark.parametrize("kind", SLOW)
def test_slow_server(online: Hub, monkeypatch: pytest.MonkeyPatch, kind: str):
    monkeypatch.setattr(hub, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(hub, "REQUEST_SECONDS", 1.0)
    online.hook = SLOW[kind]
    start = time.monotonic()
    assert refused()[0] == "org/name: the Hub at 127.0.0.1 does not answer in time"
    assert time.monotonic() - start < 2
    assert len(online.log) <= 6
    # What is still read ends by itself, but for headers, of which the HTTP library tells nothing before their end.
    if kind == "headers without an end":
        online.over.set()
    while any(thread.name == "memcalc-hub" for thread in threading.enumerate()):
        assert time.monotonic() - start < 3
        time.sleep(0.01)


def test_slow_shards(online: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub, "HEADERS_SECONDS", 1.0)
    online.files["model.safetensors.index.json"] = json.dumps(INDEX).encode()
    online.hook = lambda handler, file: file in SHARDS and silent(handler, file)
    start = time.monotonic()
    message, hint = refused()
    assert message.endswith("does not answer in time")
    assert hint == "try again, or set HF_HUB_OFFLINE=1 to do without the headers of its weights"
    assert time.monotonic() - start < 3


def test_redirects_without_end(online: Hub):
    online.hook = lambda handler, _file: handler.answer(b"", 302, {"Location": handler.path})
    assert refused()[0].endswith("redirects without an end")


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://", "http://[", "nope://x"]
)
def test_redirect_to_no_address(online: Hub, target: str):
    online.hook = lambda handler, _file: handler.answer(b"", 302, {"Location": target})
    assert "org/name: the Hub at 127.0.0.1" in refused()[0]


def test_answer_that_breaks_off(online: Hub):
    def broken(handler: Handler, _file: str) -> bool:
        handler.wfile.write(OK + b"Content-Length: 1000\r\n\r\n{")
        handler.close_connection = True
        return True

    online.hook = broken
    assert refused()[0].endswith("breaks off its answer")


@pytest.mark.parametrize("word", ["", "nonsense", "https://", "ftp://x", "http://x:y"])
def test_endpoint_that_is_no_address(point: Callable[..., None], word: str):
    point(word)
    assert refused()[0] == "org/name: HF_ENDPOINT is not an address"


# Answers that are not what they should be


@pytest.mark.parametrize(
    "content", [b"<html>", b"", b"[]", b"\xff", b"[" * 100_000, b'{"a": [' + b"1," * 1_000_001 + b"1]}"]
)
def test_config_that_is_no_json(online: Hub, tmp_path: Path, content: bytes):
    online.files["config.json"] = content
    assert refused()[0].startswith("org/name: config.json ")
    assert not snapshot(tmp_path).exists()


@pytest.mark.parametrize("commit", ["", "main", "../../../../x", "0" * 39])
def test_answer_of_no_hub(online: Hub, tmp_path: Path, commit: str):
    online.commit = commit
    assert refused()[0].endswith("answers as no Hub does: without a commit")
    assert not (tmp_path / "hub").exists()
    online.commit = COMMIT
    found = fetch("org/name")
    online.commit = commit
    assert fetch("org/name") == found


def test_compressed_answer(online: Hub):
    online.hook = lambda handler, _file: handler.answer(b"x", headers={"Content-Encoding": "gzip"})
    assert "compressed" in refused()[0]


def endless(handler: Handler, _file: str) -> bool:
    handler.wfile.write(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        handler.wfile.write(b"10000\r\n" + b" " * 2**16 + b"\r\n")


def test_endless_config(online: Hub):
    online.hook = endless
    assert refused()[0] == "org/name: config.json is larger than 10 MB"


def test_endless_index(online: Hub):
    online.hook = lambda handler, file: file.endswith(".index.json") and endless(handler, file)
    assert refused()[0] == "org/name: model.safetensors.index.json is larger than 50 MB"


@pytest.mark.parametrize(
    "index",
    [b"{}", b"nope", b'{"weight_map": {"w": "../../x.safetensors"}}', b'{"weight_map": {"w": 3}}'],
)
def test_index_that_cannot_be_used(online: Hub, index: bytes):
    online.files["model.safetensors.index.json"] = index
    assert "model.safetensors.index.json" in refused()[0]


GOOD = {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "header",
    [
        b"", b"1234567", b"\xff" * 8, (10**9).to_bytes(8, "little"), (100).to_bytes(8, "little") + b"{}",
        (4).to_bytes(8, "little") + b"nope", (2).to_bytes(8, "little") + b"[]",
    ],
)  # fmt: skip
def test_file_that_is_no_safetensors(online: Hub, header: bytes):
    online.files["model.safetensors"] = header
    message = refused()[0]
    assert message.startswith("org/name: ")
    assert "model.safetensors" in message


WHOLE = "has JSON that cannot be read: a number with a point or an exponent"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dtype": "X"}, "tensor 'w' has the dtype 'X', which is not known"),
        ({"dtype": None}, "tensor 'w' has the dtype None, which is not known"),
        ({"dtype": []}, "tensor 'w' has the dtype [], which is not known"),
        ({"shape": [-4]}, "tensor 'w' has the shape [-4], and must have whole numbers"),
        ({"shape": [4.0]}, WHOLE),
        ({"shape": 4}, "tensor 'w' has the shape 4, and must have whole numbers"),
        ({"shape": [5]}, "tensor 'w' has 8 bytes of data, and its shape and dtype take 10"),
        (
            {"shape": [True] * 4},
            "tensor 'w' has the shape [True, True, True, True], and must have whole numbers",
        ),
        ({"data_offsets": [0]}, "tensor 'w' has the data_offsets [0], and must have two whole numbers"),
        ({"data_offsets": [8, 0]}, "tensor 'w' has the data_offsets [8, 0], which are no range"),
        ({"data_offsets": [-8, 0]}, "tensor 'w' has the data_offsets [-8, 0], which are no range"),
        ({"data_offsets": [8, 16]}, "tensor 'w' has data that leave a gap of 8 bytes"),
        ({"data_offsets": [0.0, 8.0]}, WHOLE),
        ({"data_offsets": [0, 1e9]}, WHOLE),
        ({"data_offsets": None}, "tensor 'w' has the data_offsets None, and must have two whole numbers"),
        ({"shape": "abc"}, "tensor 'w' has the shape 'abc', and must have whole numbers"),
    ],
)
def test_tensor_that_is_wrong(online: Hub, change: dict[str, object], said: str):
    text = json.dumps({"w": {**GOOD, **change}}).encode()
    online.files["model.safetensors"] = len(text).to_bytes(8, "little") + text
    assert refused()[0] == f"org/name: model.safetensors: {said}"


def test_shard_that_lacks_a_tensor(online: Hub):
    online.files["model.safetensors.index.json"] = json.dumps(INDEX).encode()
    online.files |= {SHARDS[0]: safetensors(A), SHARDS[1]: safetensors(A)}
    assert refused()[0] == f"org/name: {SHARDS[1]} lacks the tensor '{B.name}', which its index names"


@pytest.mark.usefixtures("online")
def test_cache_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "hub").write_text("a file")
    message, hint = refused()
    assert "cannot be kept" in message
    assert hint == "set HF_HOME to a folder that can be written to"


# Processes of their own, with the environment that users set

PROGRAM = """
import sys
from memcalc.errors import FileError
from memcalc.readers import hub
assert "huggingface_hub" not in sys.modules and "httpx" not in sys.modules
try:
    print(hub.fetch(sys.argv[1])[1:3])
except FileError as error:
    print(error.message, error.hint, sep="|")
    sys.exit(error.exit_code)
"""


def run(tmp_path: Path, name: str = "org/name", program: str = PROGRAM, **more: str) -> tuple[int, str]:
    kept = ("PATH", "PYTHONPATH", "SYSTEMROOT", "LANG", "TMPDIR")
    environment = {key: value for key, value in os.environ.items() if key in kept}
    environment |= {"HF_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), **more}
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", program, name],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert TOKEN not in done.stdout
    return done.returncode, done.stdout.strip()


def test_environment(server: Hub, tmp_path: Path):
    server.files["model.safetensors"] = safetensors(A)
    found = run(tmp_path, HF_ENDPOINT=server.url, HF_TOKEN=TOKEN)
    assert found == (0, str(((A,), A.bytes)))
    assert server.tokens == {f"Bearer {TOKEN}"}
    assert (tmp_path / "home/hub/models--org--name/snapshots" / COMMIT / "config.json").is_file()
    server.log.clear()
    assert run(tmp_path, HF_ENDPOINT=server.url, HF_HUB_OFFLINE="1") == (0, "(None, None)")
    assert not server.log
    code, out = run(tmp_path, HF_ENDPOINT=server.url, HF_HUB_OFFLINE="1", HF_HUB_CACHE=str(tmp_path / "no"))
    assert (code, out.partition("|")[0]) == (
        3,
        "org/name: is not in the cache, and HF_HUB_OFFLINE forbids to fetch it",
    )


def test_stored_token(server: Hub, tmp_path: Path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/token").write_text(TOKEN)
    server.hook = lambda handler, _file: handler.refuse(401, "", {"X-HF-Warning": f"a; your {TOKEN} is old"})
    code, out = run(tmp_path, HF_ENDPOINT=server.url, HF_HUB_ENABLE_HF_TRANSFER="1")
    assert code == 3
    assert "does not take the token" in out
    assert server.tokens == {f"Bearer {TOKEN}"}


def test_process_ends_while_the_server_still_drips(server: Hub, tmp_path: Path):
    server.hook = SLOW["headers without an end"]
    program = PROGRAM.replace("try:", "hub.REQUEST_SECONDS = 1\ntry:")
    start = time.monotonic()
    code, out = run(tmp_path, program=program, HF_ENDPOINT=server.url)
    assert code == 3
    assert "does not answer in time" in out
    assert time.monotonic() - start < 15


def test_without_the_extra(tmp_path: Path):
    program = "import sys\nsys.modules['huggingface_hub'] = None\n" + PROGRAM.replace("assert", "0 and")
    code, out = run(tmp_path, program=program)
    assert code == 3
    assert out == (
        "org/name needs the extra 'hub'|pip install 'memcalc[hub]', or give a folder with config.json"
    )


@pytest.mark.usefixtures("online")
def test_version_that_is_too_old(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub, "__version__", "0.36.0")
    message, hint = refused()
    assert message == "org/name: huggingface_hub 0.36.0 is too old"
    assert hint.startswith("pip install --upgrade 'memcalc[hub]'")
