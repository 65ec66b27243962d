"""What a tool, a prompt or a resource can show besides data: texts, pictures, sounds, and documents with an address."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Base64Bytes, Field

from devops_mcp.models.base import Model


class Text(Model):
    type: Literal["text"] = "text"
    text: str


class Image(Model):
    """`data` are the file's bytes, base64 in JSON."""

    type: Literal["image"] = "image"
    data: Base64Bytes
    mime_type: str


class Audio(Model):
    type: Literal["audio"] = "audio"
    data: Base64Bytes
    mime_type: str


class Document(Model):
    """The content behind an address: either text or the bytes of a file."""

    type: Literal["document"] = "document"
    uri: str
    mime_type: str
    text: str | None = None
    data: Base64Bytes | None = None


class Link(Model):
    """The address of a resource that the reader may ask for."""

    type: Literal["link"] = "link"
    uri: str
    name: str
    mime_type: str | None = None


Block: TypeAlias = Annotated[Text | Image | Audio | Document | Link, Field(discriminator="type")]
