"""A client of the OpenAI chat-completions protocol, which most servers of language models speak."""

from evalkit.chat_client.answer import ChatAnswer
from evalkit.chat_client.client import ChatClient, ChatRequest
from evalkit.chat_client.server import DEFAULT_KEY_ENV, ChatServer, listed_models, unknown_model

__all__ = [
    "DEFAULT_KEY_ENV",
    "ChatAnswer",
    "ChatClient",
    "ChatRequest",
    "ChatServer",
    "listed_models",
    "unknown_model",
]
