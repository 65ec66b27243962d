"""The tools of the filesystem, one line each."""

from typing import Any

from devops_mcp.adapters.base import Effect, Risk, Tool
from devops_mcp.adapters.filesystem.client import Filesystem
from devops_mcp.adapters.filesystem.tools.list import (
    Folder,
    ListFolderParams,
    Tree,
    TreeParams,
    list_folder,
    tree,
)
from devops_mcp.adapters.filesystem.tools.read import (
    FileInfo,
    FileText,
    FileTexts,
    InfoParams,
    ReadFileParams,
    ReadManyParams,
    info,
    read,
    read_many,
)
from devops_mcp.adapters.filesystem.tools.search import Matches, SearchParams, search
from devops_mcp.adapters.filesystem.tools.write import (
    Edited,
    EditFileParams,
    MadeFolder,
    MakeFolderParams,
    Moved,
    MoveParams,
    WriteFileParams,
    Written,
    edit,
    mkdir,
    move,
    replaces,
    write,
)

_WRITE, _LOSING, _MEDIUM = Effect.WRITE, Effect.DESTRUCTIVE, Risk.MEDIUM

TOOLS: tuple[Tool[Filesystem, Any, Any], ...] = (
    Tool("fs_read", "Read a file", ReadFileParams, FileText, read),
    Tool("fs_read_many", "Read several files", ReadManyParams, FileTexts, read_many),
    Tool("fs_list", "List a folder", ListFolderParams, Folder, list_folder),
    Tool("fs_tree", "List a folder and below", TreeParams, Tree, tree),
    Tool("fs_search", "Find files and lines", SearchParams, Matches, search),
    Tool("fs_info", "Describe a file", InfoParams, FileInfo, info),
    Tool(
        "fs_write",
        "Write a file",
        WriteFileParams,
        Written,
        write,
        _LOSING,
        Risk.HIGH,
        idempotent=True,
        loses=replaces,
    ),
    Tool("fs_edit", "Edit a file", EditFileParams, Edited, edit, _WRITE, _MEDIUM),
    Tool("fs_mkdir", "Make a folder", MakeFolderParams, MadeFolder, mkdir, _WRITE, idempotent=True),
    Tool("fs_move", "Move a file or folder", MoveParams, Moved, move, _WRITE, _MEDIUM),
)
