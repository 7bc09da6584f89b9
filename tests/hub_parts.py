"""Small releases for the tests of publishing: real safetensors, cards and configurations."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evalkit.hub.plan import ReleasePlan, RepoKind, plan_release

CARD = (
    "---\nlicense: mit\nlibrary_name: transformers\ntags:\n- spin\n---\n# A model\n\nIt is small.\n"
)
SERVER = """
import os, sys
from pathlib import Path
from evalkit.hub.serve import running
sys.argv[2:] and exec(sys.argv[2])
with running(Path(sys.argv[1]), wrap=globals().get("wrap")) as server:
    print(server.endpoint, server.token, flush=True)
    sys.stdin.read()
"""


def safetensors_bytes(numbers: bytes) -> bytes:
    """A safetensors file with one tensor of bytes."""
    row = {"dtype": "U8", "shape": [len(numbers)], "data_offsets": [0, len(numbers)]}
    header = json.dumps({"w": row, "__metadata__": {"format": "pt"}}).encode()
    return len(header).to_bytes(8, "little") + header + numbers


def write_release(folder: Path, numbers: bytes = b"\1\2\3\4") -> Path:
    """Writes a folder that may be published."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(CARD)
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["X"]}')
    (folder / "model.safetensors").write_bytes(safetensors_bytes(numbers))
    (folder / "eval").mkdir(exist_ok=True)
    (folder / "eval" / "results.json").write_text('{"score": 1.5}')
    return folder


def plan_of(
    folder: Path, name: str = "evalkit/tiny", note: str = "", kind: RepoKind = "model"
) -> ReleasePlan:
    """The plan of such a folder."""
    return plan_release(folder, name, checkpoint=name.split("/")[1], kind=kind, note=note)


def start_server(root: Path, code: str = "") -> tuple["subprocess.Popen[str]", str, str]:
    """A Hub in a process of its own that can be killed: process, endpoint, token.

    code: run first; may define `wrap`.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(root), code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    assert process.stdout
    words = process.stdout.readline().split()
    assert len(words) == 2, "the server did not start"
    return process, words[0], words[1]


class Faults:
    """An ASGI wrapper that lets the inner application answer, then loses or replaces answers.

    `lose(call)` says whether the answer to a request (scope) is replaced by status 502.
    """

    def __init__(self, lose: Callable[[Any], bool]) -> None:
        self.lose = lose
        self.lost: list[str] = []
        self.seen: list[str] = []

    def __call__(self, app: Any) -> Any:
        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            line = f"{scope.get('method')} {scope['path']}"
            self.seen.append(line)
            if not self.lose(line):
                await app(scope, receive, send)
                return
            self.lost.append(line)

            async def swallow(message: Any) -> None:
                """The answer that never arrives."""

            await app(scope, receive, swallow)
            await send({"type": "http.response.start", "status": 502, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        return wrapped
