"""How long a text is for a model, without any one model's tokenizer."""

CHARS_PER_TOKEN = 3.6
"""English, code and logs come to 3.3 to 4.2 characters a token with the tokenizers in use; for other scripts bytes say more."""


def count_tokens(text: str) -> int:
    """An estimate, on the high side: of characters and of UTF-8 bytes, whichever says more. Budgets, never bills."""
    if not text:
        return 0
    return max(1, round(len(text) / CHARS_PER_TOKEN), round(len(text.encode(errors="replace")) / 4.5))
