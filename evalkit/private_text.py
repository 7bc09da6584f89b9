"""What no published text may hold: keys and tokens, and paths of somebody's own machine.

Patterns are of bytes, so that files of any size and encoding can be looked through.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from typing import NamedTuple

_SECRETS = {
    "a Hugging Face token": rb"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{30,}",
    "an OpenAI or Anthropic key": rb"(?<![A-Za-z0-9-])sk-(?:(?:proj|ant|svcacct)-[\w-]{20,}"
    rb"|[A-Za-z0-9]{32,})",
    "an AWS access key": rb"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])",
    "an AWS secret key": rb"(?i:aws_secret_access_key)[\"'\s]*[=:][\"'\s]*[A-Za-z0-9/+]{40}",
    "a private key": rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "a GitHub token": rb"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{60,})",
    "a Google key": rb"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])",
    "a Slack token": rb"(?<![A-Za-z0-9])xox[abprs]-[A-Za-z0-9-]{20,}",
    "a Weights & Biases key": rb"(?i:wandb_api_key)[\"'\s]*[=:][\"'\s]*[0-9a-f]{40}",
    "a Groq, NVIDIA or Replicate key": rb"(?<![A-Za-z0-9])"
    rb"(?:gsk_[A-Za-z0-9]{40,}|nvapi-[\w-]{40,}|r8_[A-Za-z0-9]{35,})",
    "a bearer token": rb"(?i:authorization)[\"'\s]*[=:][\"'\s]*(?i:bearer)\s+[\w.~+/-]{24,}",
}
_SECRET = re.compile(b"|".join(b"(%b)" % pattern for pattern in _SECRETS.values()))
_END, _FEWEST = 16, 3  # bytes at a secret's end, and different ones among them at least
PRIVATE_PATH = re.compile(
    rb"(?<![\w./:@-])(?:/home/[\w.-]+|/Users/[\w.-]+|/root/|/tmp/|/mnt/|/var/folders/)[\w./-]*"
    rb"|(?<![\w])[A-Za-z]:\\\\?Users\\\\?[\w.-]+"
)


class Secret(NamedTuple):
    """Where a text holds what looks like a secret, and of which kind; never the secret itself."""

    position: int
    what: str


def secrets(text: mmap.mmap | bytes) -> Iterator[Secret]:
    """What in a text looks like a secret, in order; not `hf_xxxx...`, which stands for one."""
    for found in _SECRET.finditer(text):
        if len(set(found[0][-_END:])) < _FEWEST:
            continue
        yield Secret(found.start(), list(_SECRETS)[(found.lastindex or 1) - 1])
