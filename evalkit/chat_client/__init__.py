"""A client of the OpenAI chat-completions protocol, which most servers of language models speak."""

from evalkit.chat_client.answer import ChatAnswer
from evalkit.chat_client.client import ChatClient, ChatRequest
from evalkit.chat_client.ledger import Budget, Ledger, Spent, describe, read_accounts
from evalkit.chat_client.prices import Price, known_price
from evalkit.chat_client.server import DEFAULT_KEY_ENV, ChatServer, listed_models, unknown_model
from evalkit.chat_client.usage import Usage, about, at_most

__all__ = [
    "DEFAULT_KEY_ENV",
    "Budget",
    "ChatAnswer",
    "ChatClient",
    "ChatRequest",
    "ChatServer",
    "Ledger",
    "Price",
    "Spent",
    "Usage",
    "about",
    "at_most",
    "describe",
    "known_price",
    "listed_models",
    "read_accounts",
    "unknown_model",
]
