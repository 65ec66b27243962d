"""The language models of an installation, as they are configured."""

from devops_mcp.config import Settings
from devops_mcp.models.embeddings import ModelKind, ModelView
from devops_mcp.operations.summaries import MAX_TOKENS


def language_models(settings: Settings) -> tuple[ModelView, ...]:
    """The one that sums contexts up, where there is one."""
    model = settings.summary_model
    if model is None:
        return ()
    return (
        ModelView(
            kind=ModelKind.LANGUAGE,
            name=model.model,
            provider=model.provider,
            used_for="summaries",
            price_per_million_tokens=model.price_per_million_tokens,
            price_per_million_output_tokens=model.price_per_million_output_tokens,
            max_tokens=model.max_tokens,
            max_output_tokens=MAX_TOKENS,
            is_default=True,
        ),
    )
