"""What an agent asks, as users see it."""

from typing import Any

from orchestrator import json_text
from orchestrator.api import render
from orchestrator.store.inbox import Question


def shown_question(question: Question) -> dict[str, Any]:
    """Return a question with what the agent said, as text and as parts."""
    said = json_text.loads(question.said)
    return {
        "id": question.number,
        "text": said["text"],
        "parts": said["parts"],
        "asked_at": render.utc(question.asked_at),
        "expires_at": render.maybe_utc(question.expires_at),
    }
