"""What is known of the standard data of the harness's tasks: rows by split, and some of the items.

Whoever puts files in a dataset's place learns by these whether it is the standard's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from evalkit.contamination.words import words

# Rows of the splits that prompts are made of. Source: the dataset cards of allenai/ai2_arc,
# openai/gsm8k, Rowan/hellaswag, truthfulqa/truthful_qa and allenai/winogrande (winogrande_xl).
STANDARD_ROWS: Mapping[str, Mapping[str, int]] = {
    "arc_challenge": {"train": 1119, "validation": 299, "test": 1172},
    "gsm8k": {"train": 7473, "test": 1319},
    "hellaswag": {"train": 39905, "validation": 10042},
    "truthfulqa_mc1": {"validation": 817},
    "truthfulqa_mc2": {"validation": 817},
    "winogrande": {"train": 40398, "validation": 1267},
}
# The field of a row that holds its question.
QUESTION_FIELDS: Mapping[str, str] = {
    "arc_challenge": "question",
    "gsm8k": "question",
    "hellaswag": "ctx",
    "truthfulqa_mc1": "question",
    "truthfulqa_mc2": "question",
    "winogrande": "sentence",
}
# Of 24 questions of the asked split, drawn once: the first 8 digits of the sha256 of their words.
# Half of them are enough: other releases differ in a few, translations in all.
_KNOWN: Mapping[str, str] = {
    "arc_challenge": (
        "a1942a49 465ea910 49658eee 0bc3f61f cce3cc6d f82dc465 65f8df38 d6e28779 "
        "ba5de2c8 d6d1702f 2c3387fa e3a06800 73a3496d e032796f 57766ee6 55fde36f "
        "28400e40 07d5e17b 46480918 fda22278 a2d3a26f 35b99475 e00dd4ff 37dd512c"
    ),
    "gsm8k": (
        "1c528873 db977bc6 c62500a6 c0943b2f 5d76f578 e650179d 83100ccf 7b4a3866 "
        "8e69ba35 dbcba8ab b178423c ad6441a2 f09c263c 41fe15c1 d008a2b3 b9754469 "
        "b521fca8 433abe39 635a3131 300c1689 861270ff ed4e919e 70592254 4d862632"
    ),
    "hellaswag": (
        "34cce84b 2b0d86a7 536c92cf 0dac327d aef47342 66185ffb e80b1610 8ad55101 "
        "79b9dfce 319645fc f5ec0ccd a29044ff a9def0bf f23b494c f90c8025 4de16e6c "
        "079f0e85 3545404a c21100d9 af9adc00 abd9f3eb 1f98525c 8e30df63 1c2b2317"
    ),
    "truthfulqa_mc2": (
        "48217d03 00cb6514 ec25a220 26b17f19 4970e71c bfb25692 e250d160 9b1937ad "
        "b7424173 57212442 cdd69a00 0065040e 5129ff42 768ed6d5 900f1924 73fa7ce5 "
        "478086a8 4db82c14 b921e6ba aa62b7ab 15d434eb 508324d2 6e639a9e 4c0976ce"
    ),
    "winogrande": (
        "5ca6f003 b9a5f8f3 89262426 63dd7817 65430dfc 94938cfe 8dff4a83 744b0a40 "
        "ccbd68a1 7748c1fc 8a1572dd d42a3648 5165f423 eeb173ba 2edc6d53 b1de3311 "
        "889f7e61 1bf6d467 7acc4916 af4082c6 b19653bd fa0c78a6 34d3a4e9 50955c0f"
    ),
}


def has_standard_items(task: str, questions: Iterable[str]) -> bool:
    """Whether these are the questions that a task of `QUESTION_FIELDS` is known to ask."""
    known = _KNOWN[task.replace("truthfulqa_mc1", "truthfulqa_mc2")].split()
    found = {_digest(question) for question in questions}
    return sum(one in found for one in known) >= len(known) / 2


def _digest(question: str) -> str:
    return hashlib.sha256(" ".join(words(question)).encode()).hexdigest()[:8]
