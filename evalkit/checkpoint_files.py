"""Which files may stand beside a checkpoint's weights: what a variant takes over from its parent.

Quantizing copies these and publishing accepts these: one list, so that nothing is carried along
that a release then refuses. Patterns are `fnmatch`'s, each for one level of folders.
"""

VOCABULARY_FILES = (
    "tokenizer.json",
    "tokenizer.model*",  # some sentencepiece files carry a version behind: tokenizer.model.v3
    "*.model",
    "*.tiktoken",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
    "vocab.bpe",
    "encoder.json",
    "merges.txt",
)
LICENCE_FILES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
COMPANIONS = (
    *VOCABULARY_FILES,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/*.jinja",
    "generation_config.json",
    *LICENCE_FILES,
)
