"""Models, and vectors for texts."""

from typing import Literal, TypeAlias
from uuid import UUID

from pydantic import Field

from devops_mcp.embedding.base import Purpose
from devops_mcp.models.base import Model
from devops_mcp.models.embeddings import Choice, ModelKind, ModelList, ModelsWanted, ModelView, Vectors
from rest_api.endpoint import AnyEndpoint, Body, Call, Endpoint, NoBody, NoParams
from rest_api.listing import Listing, page_of

TAG = "embeddings"
MAX_TEXTS = 128
MAX_TEXT = 32_000


class NewVectors(Body):
    """`model` is the caller's own where it is left out; `purpose` matters to models that embed questions otherwise."""

    input: tuple[str, ...] = Field(min_length=1, max_length=MAX_TEXTS)
    model: str | None = Field(default=None, max_length=80)
    purpose: Purpose = Purpose.PASSAGE


class NewChoice(Body):
    """`model` null goes back to what holds without a choice. `owner_id` is the caller where it is left out; `tenant` is for all others."""

    model: str | None = Field(default=None, max_length=80)
    owner_id: UUID | None = None
    tenant: bool = False


ModelSort: TypeAlias = Literal["name", "-name", "kind", "-kind"]


class ModelPage(ModelsWanted, Listing[ModelSort]):
    """A page of models. `cursor` is `next_cursor` of the page before."""

    sort: ModelSort = "kind"


class OneModel(Model):
    kind: ModelKind
    model: str = Field(min_length=1, max_length=200)


async def list_models(call: Call[ModelPage, NoBody]) -> ModelList:
    """List the embedding and language models that are configured, with limits and prices, and which are chosen to embed with."""
    params = call.params
    models = await call.platform.embeddings.models(call.principal, params.part(ModelsWanted))
    return models.model_copy(update=dict(page_of(models.items, params, ("name", "kind"))))


async def get_model(call: Call[OneModel, NoBody]) -> ModelView:
    """Get one model that is configured."""
    return call.platform.embeddings.model(call.principal, call.params.kind, call.params.model)


async def choose_model(call: Call[NoParams, NewChoice]) -> Choice:
    """Choose what embeds one's own passages, another's, or the tenant's. They are brought over in the background, and found meanwhile."""
    body = call.body
    owner_id = None if body.tenant else body.owner_id or call.principal.id
    return await call.platform.embeddings.choose(call.principal, body.model, owner_id)


async def create_embeddings(call: Call[NoParams, NewVectors]) -> Vectors:
    """Turn texts into unit vectors. A text that the tenant has paid for before costs nothing."""
    body = call.body
    return await call.platform.embeddings.embed(call.principal, body.input, body.model, body.purpose)


EMBEDDINGS: tuple[AnyEndpoint, ...] = (
    Endpoint("GET", "/api/v1/models", TAG, list_models, ModelList, params=ModelPage),
    Endpoint(
        "GET",
        "/api/v1/models/{kind}/{model}",
        TAG,
        get_model,
        ModelView,
        params=OneModel,
        errors=(404,),
        rest="model",
    ),
    Endpoint("PUT", "/api/v1/models/choice", TAG, choose_model, Choice, body=NewChoice, errors=(404,)),
    Endpoint(
        "POST",
        "/api/v1/embeddings",
        TAG,
        create_embeddings,
        Vectors,
        body=NewVectors,
        errors=(404, 429, 502),
        leased=True,
    ),
)
