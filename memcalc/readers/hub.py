"""Models by `org/name` on the Hub: the config, the index and the headers of the weights, never the weights.

This needs the extra `hub`. From huggingface_hub come the endpoint, the token, the session with its proxies
and the cache. The requests are made here: those of the library are tried again for minutes, and read
answers of any size.
"""

from __future__ import annotations

import json
import os
import queue
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urljoin, urlsplit

from memcalc.errors import FileError
from memcalc.readers.regular import shown
from memcalc.readers.safetensors import (
    LARGEST_HEADER_BYTES,
    LARGEST_INDEX_BYTES,
    find_weights,
    parse_header,
    read_safetensors,
    read_safetensors_index,
)
from memcalc.readers.tensors import StoredTensor

Value = TypeVar("Value")

CONFIG = "config.json"
QUANTISATION = "hf_quant_config.json"
INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
LARGEST_CONFIG_BYTES = 10 * 10**6
LARGEST_LISTING_BYTES = 10 * 10**6

#: Seconds to connect, and from one part of an answer to the next.
ANSWER_SECONDS = 10.0
#: Seconds that one request may take, names and redirects included.
REQUEST_SECONDS = 25.0
#: Seconds for the headers of all shards, which are hundreds in the largest models.
HEADERS_SECONDS = 180.0
_TOGETHER = 8
_MOST_REDIRECTS = 5
#: Most headers are shorter, so one request is enough.
_FIRST_BYTES = 100_000
#: Values in one answer.
_MOST_VALUES = 10**6

_FILE_ENDINGS = (".toml", ".json", ".safetensors", ".gguf")
_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_NAME = re.compile(rf"({_PART}/{_PART})(?:@({_PART}(?:/{_PART})*))?")
_COMMIT = re.compile(r"[0-9a-f]{40,64}")
_FOLDER_HINT = "or give a folder with config.json"


class Fetched(NamedTuple):
    """What the Hub has of a model.

    `folder` is the local snapshot that holds config.json; `revision` is its commit. `tensors` are those that
    the headers of the weights state, None where they cannot be had. `total_bytes` is the index's own figure
    of the weights [B], else that of the tensors, None where neither is known.
    """

    folder: str
    tensors: tuple[StoredTensor, ...] | None
    total_bytes: int | None
    revision: str


def is_hub_name(word: str) -> bool:
    """Whether a word can be a model on the Hub: `org/name`, or `org/name@revision`.

    A file or folder of that name comes first; the caller looks.

    >>> is_hub_name("openai/gpt-oss-20b"), is_hub_name("openai/gpt-oss-20b@main")
    (True, True)
    >>> [is_hub_name(word) for word in ("models/tiny.gguf", "./tiny", "a/b/c", "tiny")]
    [False, False, False, False]
    """
    found = _NAME.fullmatch(word)
    return found is not None and not any(part.lower().endswith(_FILE_ENDINGS) for part in (found[1], word))


def fetch(name: str) -> Fetched:
    """The config of a model on the Hub, kept in the Hub's cache, and the tensors of its weights.

    Where the Hub cannot be reached, or HF_HUB_OFFLINE is set, the cache alone is used. FileError where the
    model cannot be had.
    """
    if not is_hub_name(name):
        raise FileError(f"{shown(name)}: is not a model on the Hub", "write org/name, or org/name@revision")
    with _library(name) as library:
        return _Repository(library, name).fetch()


class _Library(NamedTuple):
    """What is used of huggingface_hub, of which version 1 and 2 stand on different HTTP libraries."""

    endpoint: str
    cache: str
    offline: bool
    url: Callable[..., str]
    headers: Callable[[], dict[str, str]]
    session: Callable[[], Any]
    cached: Callable[..., Any]


@contextmanager
def _library(name: str) -> Iterator[_Library]:
    """The library, made to say nothing: to the terminal, and of this machine to the server."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from huggingface_hub import (  # noqa: PLC0415 - only where a model is fetched
                __version__,
                constants,
                hf_hub_url,
                try_to_load_from_cache,
            )
            from huggingface_hub.utils import (  # type: ignore[attr-defined]  # noqa: PLC0415
                build_hf_headers,
                get_session,
                logging,
            )
        except ImportError:
            hint = f"pip install 'memcalc[hub]', {_FOLDER_HINT}"
            raise FileError(f"{name} needs the extra 'hub'", hint) from None
        if __version__.startswith("0."):
            what = f"{name}: huggingface_hub {__version__} is too old"
            raise FileError(what, f"pip install --upgrade 'memcalc[hub]', {_FOLDER_HINT}")
        telemetry, verbosity = constants.HF_HUB_DISABLE_TELEMETRY, logging.get_verbosity()
        constants.HF_HUB_DISABLE_TELEMETRY = True
        logging.set_verbosity(50)  # critical errors alone
        try:
            yield _Library(
                endpoint=constants.ENDPOINT,
                cache=constants.HF_HUB_CACHE,
                offline=constants.is_offline_mode(),
                url=hf_hub_url,
                headers=build_hf_headers,
                session=get_session,
                cached=try_to_load_from_cache,
            )
        finally:
            constants.HF_HUB_DISABLE_TELEMETRY = telemetry
            logging.set_verbosity(verbosity)


class _UnreachableError(FileError):
    """The Hub gives no answer, or none that can be used: what is cached may do."""


class _RefusedError(Exception):
    """The Hub answers that it does not give a file: its status, its own word for it, whether a token was sent."""

    def __init__(self, status: int, code: str, *, token: bool) -> None:
        super().__init__(status, code)
        self.status, self.code, self.token = status, code, token


class _Answer(NamedTuple):
    content: bytes
    commit: str


class _Repository:
    """One repository on the Hub at one revision."""

    def __init__(self, library: _Library, name: str) -> None:
        self.library, self.name = library, name
        self.repository, _, revision = name.partition("@")
        self.revision = revision or "main"
        place = _origin(library.endpoint)
        if place is None:
            what = f"{name}: HF_ENDPOINT is not an address"
            raise FileError(what, "it is like https://hub.example.com, or not set")
        default = "HF_ENDPOINT" not in os.environ
        self.hub = "the Hub" if default else f"the Hub at {shown(place[1])[1:-1]}"
        try:
            self._url(CONFIG)
        except ValueError:
            # Two dashes or dots, or too many characters.
            what = f"{name}: is not a name that the Hub allows"
            raise FileError(what, f"write org/name as its page has it, {_FOLDER_HINT}") from None

    def fetch(self) -> Fetched:
        """What can be had of it, from the Hub or from the cache."""
        if self.library.offline:
            found = self._cached()
            if found is None:
                what = f"{self.name}: is not in the cache, and HF_HUB_OFFLINE forbids to fetch it"
                raise FileError(what, f"unset HF_HUB_OFFLINE, {_FOLDER_HINT}")
            return found
        try:
            folder = self._config()
        except _UnreachableError:
            found = self._cached()
            if found is None:
                raise
            return found
        except _RefusedError as error:
            raise self._refusal(error) from None
        try:
            tensors, total = self._weights(folder)
        except _UnreachableError as error:
            hint = "try again, or set HF_HUB_OFFLINE=1 to do without the headers of its weights"
            raise FileError(error.message, hint) from None
        return Fetched(folder, tensors, total, os.path.basename(folder))

    def _cached(self) -> Fetched | None:
        """What the cache has of it, None where that is no config."""
        try:
            path = self.library.cached(self.repository, CONFIG, revision=self.revision)
        except (OSError, ValueError):
            return None
        if not isinstance(path, str):
            return None
        folder = os.path.dirname(path)
        tensors, total = _stored(folder)
        return Fetched(folder, tensors, total, os.path.basename(folder))

    def _config(self) -> str:
        """The folder of the snapshot, with the config in it and what stands beside it about quantisation."""
        answer = self._get(CONFIG, self.revision, LARGEST_CONFIG_BYTES)
        if not _COMMIT.fullmatch(answer.commit):
            what = f"{self.name}: {self.hub} answers as no Hub does: without a commit"
            raise _UnreachableError(what, f"check HF_ENDPOINT and the proxy, {_FOLDER_HINT}")
        config = self._object(CONFIG, answer.content)
        place = os.path.join(self.library.cache, "--".join(("models", *self.repository.split("/"))))
        folder = os.path.join(place, "snapshots", answer.commit)
        self._keep(os.path.join(folder, CONFIG), answer.content)
        if self.revision != answer.commit:
            self._keep(
                os.path.join(place, "refs", *self.revision.split("/")), answer.commit.encode(), anew=True
            )
        if "quantization_config" not in config:
            self._file(folder, QUANTISATION, LARGEST_CONFIG_BYTES)
        return folder

    def _weights(self, folder: str) -> tuple[tuple[StoredTensor, ...] | None, int | None]:
        """The tensors by the headers of the weights, and their bytes."""
        tensors, total = _stored(folder)
        if tensors is not None:
            return tensors, total
        index = self._file(folder, INDEX, LARGEST_INDEX_BYTES)
        commit = os.path.basename(folder)
        try:
            if index is None:
                tensors = self._in_time([partial(self._header, WEIGHTS, commit)], REQUEST_SECONDS)[0]
                return tensors, sum(tensor.bytes for tensor in tensors)
            total = read_safetensors_index(index).total_size
            shards: dict[str, list[str]] = {}
            # Read again for the shards: it was found sound just now.
            with open(index, encoding="utf-8") as file:
                for tensor, shard in json.load(file)["weight_map"].items():
                    shards.setdefault(shard, []).append(tensor)
            jobs = [partial(self._header, shard, commit, names) for shard, names in shards.items()]
            found = self._in_time(jobs, HEADERS_SECONDS)
        except _RefusedError:
            return None, total
        tensors = tuple(tensor for part in found for tensor in part)
        return tensors, sum(tensor.bytes for tensor in tensors) if total is None else total

    def _header(self, file: str, commit: str, names: Sequence[str] | None = None) -> tuple[StoredTensor, ...]:
        """The tensors of these names, or all, that the header of a file of weights states."""
        where = f"{self.name}: {file}"
        content = self._ask(file, commit, _FIRST_BYTES, whole=False).content
        length = int.from_bytes(content[:8], "little")
        if len(content) < 8 or length > LARGEST_HEADER_BYTES:
            raise FileError(f"{where} is no safetensors file", "its header is missing or too long")
        if len(content) < 8 + length:
            content = self._ask(file, commit, 8 + length, whole=False).content
        if len(content) < 8 + length:
            raise FileError(f"{where} ends within its header")
        stated, _ = parse_header(where, content[8 : 8 + length])
        if names is None:
            return stated
        tensors = {tensor.name: tensor for tensor in stated}
        missing = next((name for name in names if name not in tensors), None)
        if missing is not None:
            raise FileError(f"{where} lacks the tensor {shown(missing)}, which its index names")
        return tuple(tensors[name] for name in names)

    def _file(self, folder: str, file: str, most: int) -> str | None:
        """A small file of the snapshot, from the cache or fetched; None where the Hub gives none."""
        path, commit = os.path.join(folder, file), os.path.basename(folder)
        if os.path.isfile(path):
            return path
        try:
            answer = self._get(file, commit, most)
        except _RefusedError:
            return None
        self._object(file, answer.content)
        self._keep(path, answer.content)
        return path

    def _keep(self, path: str, content: bytes, *, anew: bool = False) -> None:
        """Write a file of the cache at once or not at all; one that is there is kept, or written anew."""
        if not anew and os.path.isfile(path):
            return
        part = f"{path}.{os.getpid()}.{threading.get_ident()}.incomplete"
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(part, "wb") as file:
                file.write(content)
            os.replace(part, path)
        except OSError as error:
            with suppress(OSError):
                os.unlink(part)
            if anew:
                # A reference says what to use offline: it can be done without.
                return
            what = f"{self.name}: cannot be kept in {shown(self.library.cache)}"
            reason = (error.strerror or type(error).__name__).lower()
            raise FileError(f"{what}: {reason}", "set HF_HOME to a folder that can be written to") from None

    def _object(self, file: str, content: bytes) -> dict[str, Any]:
        """The JSON object that an answer holds."""
        where = f"{self.name}: {file}"
        values = sum(map(content.count, (b"[", b"{", b",")))
        # Counted before anything is built from them: two bytes can become a hundred.
        if values > _MOST_VALUES:
            raise FileError(f"{where} has more than {_MOST_VALUES} values")
        try:
            table = json.loads(content.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            table = None
        if not isinstance(table, dict):
            raise FileError(
                f"{where} is not a JSON object", f"check HF_ENDPOINT and the proxy, {_FOLDER_HINT}"
            )
        return table

    def _get(self, file: str, revision: str, most: int) -> _Answer:
        """A file of at most so many bytes, within the time that a request may take."""
        return self._in_time([partial(self._ask, file, revision, most)], REQUEST_SECONDS)[0]

    def _url(self, file: str, revision: str = "main") -> str:
        """The address of a file of the repository."""
        return self.library.url(self.repository, file, revision=revision)

    def _ask(self, file: str, revision: str, most: int, *, whole: bool = True) -> _Answer:
        """A file of at most so many bytes, or the start of one that is not asked for as a whole."""
        return self._request(self._url(file, revision), file, most, whole=whole)

    def _request(self, url: str, file: str, most: int, *, whole: bool = True) -> _Answer:
        """One request with its redirects; the token goes to the Hub itself alone."""
        until = time.monotonic() + REQUEST_SECONDS
        try:
            headers = self.library.headers()
            _refuse_token(self.name, headers.get("authorization", ""))
            # A few bytes of compressed data can become gigabytes.
            headers["accept-encoding"] = "identity"
            if not whole:
                headers["range"] = f"bytes=0-{most - 1}"
            commit = ""
            for _ in range(1 + _MOST_REDIRECTS):
                with self.library.session().stream(
                    "GET", url, headers=headers, timeout=ANSWER_SECONDS, follow_redirects=False
                ) as response:
                    commit = commit or response.headers.get("x-repo-commit", "")
                    if response.has_redirect_location:
                        target = urljoin(url, response.headers["location"])
                        if _origin(target) != _origin(url):
                            headers.pop("authorization", None)
                        url = target
                        continue
                    self._refuse(response.status_code, response.headers, "authorization" in headers)
                    return _Answer(self._body(response, file, most, until, whole=whole), commit)
        except (FileError, _RefusedError):
            raise
        except Exception as error:  # noqa: BLE001 - of whichever HTTP library, or of what it lets through
            raise self._unreachable(error) from None
        what = f"{self.name}: {self.hub} redirects without an end"
        raise _UnreachableError(what, f"check HF_ENDPOINT and the proxy, {_FOLDER_HINT}")

    def _refuse(self, status: int, headers: Mapping[str, str], token: bool) -> None:  # noqa: FBT001 - as it was sent
        """Raise for a status that brings no file."""
        if status in (200, 206):
            return
        what = f"{self.name}: {self.hub} answers {status}"
        if status == 429:
            more = "" if token else ", set HF_TOKEN"
            raise _UnreachableError(f"{what}: too many requests", f"try again later{more}, {_FOLDER_HINT}")
        if status in (408, 425) or not 400 <= status < 500:
            raise _UnreachableError(what, f"try again later, {_FOLDER_HINT}")
        raise _RefusedError(status, headers.get("x-error-code", ""), token=token)

    def _body(self, response: Any, file: str, most: int, until: float, *, whole: bool) -> bytes:
        """The bytes of an answer as they are sent."""
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            what = f"{self.name}: {self.hub} sends {file} compressed, which was not asked for"
            raise _UnreachableError(what, f"check HF_ENDPOINT and the proxy, {_FOLDER_HINT}")
        content = bytearray()
        for chunk in response.iter_raw():
            content += chunk
            if len(content) > most and whole:
                raise FileError(f"{self.name}: {file} is larger than {most // 10**6} MB")
            if len(content) >= most and not whole:
                break
            if time.monotonic() > until:
                raise TimeoutError
        return bytes(content[:most])

    def _in_time(self, jobs: Sequence[Callable[[], Value]], seconds: float) -> list[Value]:
        """The results of all jobs, a few at once; the first error ends them.

        They run in threads that nobody waits for: no timeout covers the look-up of a name, or a server that
        sends its answer byte by byte.
        """
        waiting: queue.SimpleQueue[tuple[int, Callable[[], Value]]] = queue.SimpleQueue()
        done: queue.SimpleQueue[tuple[int, Value | None, BaseException | None]] = queue.SimpleQueue()
        for job in enumerate(jobs):
            waiting.put(job)

        def work() -> None:
            while True:
                try:
                    at, job = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    done.put((at, job(), None))
                except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                    done.put((at, None, error))
                    return

        until = time.monotonic() + seconds
        for _ in range(min(_TOGETHER, len(jobs))):
            threading.Thread(target=work, name="memcalc-hub", daemon=True).start()
        results: dict[int, Any] = {}
        try:
            while len(results) < len(jobs):
                # One that says nothing for so long is stuck, whatever time is left for all.
                left = min(until - time.monotonic(), 2 * REQUEST_SECONDS)
                at, result, error = done.get(timeout=max(left, 0))
                if error is not None:
                    raise error
                results[at] = result
        except queue.Empty:
            raise self._unreachable(TimeoutError()) from None
        finally:
            with suppress(queue.Empty):
                while True:
                    waiting.get_nowait()
        return [results[at] for at in range(len(jobs))]

    def _unreachable(self, error: Exception) -> _UnreachableError:
        """Why there is no answer, in words that cannot hold a token."""
        kinds = {kind.__name__ for kind in type(error).__mro__}
        hint = f"check the connection, {_FOLDER_HINT}"
        if kinds & {"TimeoutException", "TimeoutError"}:
            return _UnreachableError(f"{self.name}: {self.hub} does not answer in time", hint)
        if "RemoteProtocolError" in kinds or "ReadError" in kinds:
            what = "breaks off its answer"
        else:
            what = f"cannot be reached: {_reason(error)}"
        return _UnreachableError(f"{self.name}: {self.hub} {what}", hint)

    def _refusal(self, error: _RefusedError) -> FileError:
        """What it means that the Hub does not give the config."""
        name, hub = self.name, self.hub
        terms = (
            "accept its terms on its page with the account of the token, and check what the token may read"
        )
        if error.code == "GatedRepo":
            hint = terms if error.token else "accept its terms on its page, then set HF_TOKEN"
            return FileError(f"{name}: is gated on {hub}", hint)
        if error.status == 401 and not error.token:
            what = f"{name}: {hub} shows no such model to those without a token"
            return FileError(what, "check the spelling; for a private or gated model set HF_TOKEN")
        if error.status == 401:
            what = f"{name}: {hub} does not take the token, or has no such model for it"
            return FileError(what, "check the spelling, and HF_TOKEN or the stored token")
        if error.status == 403:
            hint = terms if error.token else "set HF_TOKEN, and accept its terms on its page"
            return FileError(f"{name}: {hub} gives no access to it", hint)
        if error.status != 404:
            return FileError(f"{name}: {hub} answers {error.status}", f"check HF_ENDPOINT, {_FOLDER_HINT}")
        if error.code == "RevisionNotFound":
            what = f"{name}: {self.repository} has no revision {self.revision}"
            return FileError(what, "give a branch, tag or commit of it")
        files = None if error.code == "RepoNotFound" else self._files()
        if files is None and error.code != "EntryNotFound":
            what = f"{name}: there is no such model on {hub}, and no such folder here"
            more = "" if error.token else "; for a private one set HF_TOKEN"
            return FileError(what, f"check the spelling{more}")
        what = f"{name}: has no config.json"
        if found := sorted(file for file in files or () if file.lower().endswith(".gguf")):
            return FileError(what, f"download one of its GGUF files, like {shown(found[0])}, and name that")
        if "adapter_config.json" in (files or ()):
            return FileError(what, "it is an adapter: name the model that it adapts")
        return FileError(what, "name a model that has one, or describe it by hand in a TOML file")

    def _files(self) -> list[str] | None:
        """The names of its files, None where the Hub does not list them."""
        revision = quote(self.revision, safe="")
        url = f"{self.library.endpoint}/api/models/{self.repository}/revision/{revision}"
        ask = partial(self._request, url, "its list of files", LARGEST_LISTING_BYTES)
        try:
            answer = self._in_time([ask], REQUEST_SECONDS)[0]
            listed = self._object("its list of files", answer.content).get("siblings")
        except (FileError, _RefusedError):
            return None
        if not isinstance(listed, list):
            return None
        names = [entry.get("rfilename") for entry in listed if isinstance(entry, dict)]
        return [name for name in names if isinstance(name, str)]


def _stored(folder: str) -> tuple[tuple[StoredTensor, ...] | None, int | None]:
    """The tensors of the weights in a snapshot and their bytes, None where they are not, or not all, there."""
    path = find_weights(folder)
    if path is not None and path.endswith(".json"):
        index = read_safetensors_index(path)
        return index.tensors, index.total_size
    # Of any other name it may be one shard of several.
    if path is None or os.path.basename(path) != WEIGHTS:
        return None, None
    tensors = read_safetensors(path)
    return tensors, sum(tensor.bytes for tensor in tensors)


def _reason(error: BaseException) -> str:
    """What the operating system says of a failure, or TLS, whichever of them it began with; else its kind.

    >>> _reason(OSError(111, "Connection refused")), _reason(ValueError("Bearer hf_secret"))
    ('connection refused', 'ValueError')
    """
    cause: BaseException | None = error
    while cause is not None:
        said = getattr(cause, "verify_message", None) or getattr(cause, "strerror", None)
        if isinstance(said, str) and said:
            # Of TLS without its "[SSL: WORDS]" and the line of its source.
            return shown(re.sub(r"^\[.*?\] *| *\(_ssl.*$", "", said).lower())[1:-1]
        cause = cause.__cause__ or cause.__context__
    return "the proxy refuses" if "Proxy" in type(error).__name__ else type(error).__name__


def _origin(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an address; None where it is none.

    >>> _origin("https://hub.example.com/a"), _origin("hub.example.com")
    (('https', 'hub.example.com', 443), None)
    """
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None


def _refuse_token(name: str, word: str) -> None:
    """FileError for a token that no request can carry."""
    if not (word.isascii() and word.isprintable()):
        raise FileError(f"{name}: the token has characters that no token has", "check HF_TOKEN")
