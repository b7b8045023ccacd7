"""The published key names (LAVIS) <-> this package's."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import torch

from qure.errors import BadInput
from qure.models.config import QureConfig
from qure.models.model import QureModel

#: Keys of published files that the model has no use for; a file may hold them or not. The masked-language-model
#: head `cls` served BLIP-2's own pre-training, and its decoder is the word embedding once more.
UNUSED = (re.compile(r"Qformer\.bert\.embeddings\.position_ids"), re.compile(r"Qformer\.cls\..+"))

#: The head of BLIP-2's own matching task, which relevance does without: zeros where a file was saved without it.
_HEAD = "itm_head."

_TOWER = "visual_encoder."
_BLOCK = r"visual_encoder\.transformer\.resblocks\.(\d+)\."
_LAYER = r"Qformer\.bert\.encoder\.layer\.(\d+)\."
_RENAMES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"temp", "temperature"),
        (r"(query_tokens)", r"\1"),
        (r"((?:ln_vision|vision_proj|text_proj|itm_head)\.(?:weight|bias))", r"\1"),
        (r"visual_encoder\.class_embedding", "vision.embeddings.class_embedding"),
        (r"visual_encoder\.positional_embedding", "vision.embeddings.position_embedding.weight"),
        (r"visual_encoder\.conv1\.weight", "vision.embeddings.patch_embedding.weight"),
        (r"visual_encoder\.ln_pre\.(weight|bias)", r"vision.pre_layrnorm.\1"),
        (_BLOCK + r"attn\.out_proj\.(weight|bias)", r"vision.encoder.layers.\1.self_attn.out_proj.\2"),
        (_BLOCK + r"ln_([12])\.(weight|bias)", r"vision.encoder.layers.\1.layer_norm\2.\3"),
        (_BLOCK + r"mlp\.c_fc\.(weight|bias)", r"vision.encoder.layers.\1.mlp.fc1.\2"),
        (_BLOCK + r"mlp\.c_proj\.(weight|bias)", r"vision.encoder.layers.\1.mlp.fc2.\2"),
        (r"Qformer\.bert\.embeddings\.((?:word|position)_embeddings\.weight)", r"text_embeddings.\1"),
        (r"Qformer\.bert\.embeddings\.LayerNorm\.(weight|bias)", r"qformer.layernorm.\1"),
        (_LAYER + r"((?:cross)?attention)\.self\.(.+)", r"qformer.encoder.layer.\1.\2.attention.\3"),
        (_LAYER + r"((?:cross)?attention\.output|intermediate|output|intermediate_query|output_query)\.(.+)",
         r"qformer.encoder.layer.\1.\2.\3"),
    )
)  # fmt: skip
_PACKED = re.compile(_BLOCK + r"attn\.in_proj_(weight|bias)")


def target_names(key: str) -> tuple[str, ...] | None:
    """Where a published tensor goes: one name, three for packed attention inputs, none when unused.

    None (no tuple) means that the key is unknown.

    >>> target_names("visual_encoder.transformer.resblocks.3.attn.in_proj_bias")[0]
    'vision.encoder.layers.3.self_attn.q_proj.bias'
    >>> target_names("Qformer.bert.encoder.layer.0.crossattention.self.key.weight")
    ('qformer.encoder.layer.0.crossattention.attention.key.weight',)
    >>> target_names("Qformer.cls.predictions.bias")
    ()
    >>> target_names("optimizer") is None
    True
    """
    if any(pattern.fullmatch(key) for pattern in UNUSED):
        return ()
    if packed := _PACKED.fullmatch(key):
        block, kind = packed.groups()
        return tuple(f"vision.encoder.layers.{block}.self_attn.{part}_proj.{kind}" for part in "qkv")
    for pattern, name in _RENAMES:
        if match := pattern.fullmatch(key):
            return (match.expand(name),)
    return None


def convert_state_dict(
    published: Mapping[str, torch.Tensor], config: QureConfig, *, file: Path | str
) -> dict[str, torch.Tensor]:
    """Published tensors under this package's names, as fp32 (exact for the fp16 and bf16 ones).

    Raises:
        BadInput: unknown or missing keys, or a tensor of another shape than `config` gives; all by published name.
    """
    renamed: dict[str, torch.Tensor] = {}
    origin: dict[str, str] = {}
    unknown = []
    for key, tensor in published.items():
        names = target_names(key)
        if names is None or not isinstance(tensor, torch.Tensor):
            unknown.append(key)
            continue
        for name, part in zip(names, tensor.chunk(len(names)) if len(names) > 1 else (tensor,), strict=False):
            # A copy of its own: tied and chunked tensors share memory, which safetensors refuses.
            renamed[name] = part.detach().to(torch.float32, copy=True).contiguous()
            origin[name] = key
    expected = expected_shapes(config)
    unknown += sorted({origin[name] for name in renamed.keys() - expected.keys()})
    if unknown:
        raise BadInput(
            f"unknown keys: {_listed(unknown)}", file=file, remedy=_unknown_remedy(renamed.keys() & expected)
        )
    if not any(name.startswith(_HEAD) for name in renamed):
        renamed |= {name: torch.zeros(shape) for name, shape in expected.items() if name.startswith(_HEAD)}
    missing = sorted({published_name(name) for name in expected.keys() - renamed.keys()})
    if missing:
        raise BadInput(f"missing keys: {_listed(missing)}", file=file, remedy=_missing_remedy(missing))
    for name, tensor in renamed.items():
        if tuple(tensor.shape) != expected[name]:
            raise BadInput(
                f"key {origin[name]!r} has shape {list(published[origin[name]].shape)}, "
                f"which does not give {name} {list(expected[name])}",
                file=file,
            )
    with_numbers = {name: tensor for name, tensor in renamed.items() if not tensor.is_meta}
    broken = sorted({origin[name] for name, tensor in with_numbers.items() if not bool(torch.isfinite(tensor).all())})
    if broken:
        raise BadInput(
            f"keys whose numbers are not finite: {_listed(broken)}",
            file=file,
            remedy="The training that made them has diverged, or the file is damaged",
        )
    return renamed


def expected_shapes(config: QureConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of a model with these dimensions, without allocating any."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in QureModel(config).state_dict().items()}


def published_name(name: str) -> str:
    """The published key that a tensor of this package comes from.

    >>> published_name("vision.encoder.layers.3.self_attn.k_proj.bias")
    'visual_encoder.transformer.resblocks.3.attn.in_proj_bias'
    >>> published_name("qformer.encoder.layer.0.crossattention.attention.key.weight")
    'Qformer.bert.encoder.layer.0.crossattention.self.key.weight'
    """
    for pattern, replacement in _BACKWARD:
        if match := pattern.fullmatch(name):
            return match.expand(replacement)
    return name


_BACKWARD: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"temperature", "temp"),
        (r"vision\.embeddings\.class_embedding", "visual_encoder.class_embedding"),
        (r"vision\.embeddings\.position_embedding\.weight", "visual_encoder.positional_embedding"),
        (r"vision\.embeddings\.patch_embedding\.weight", "visual_encoder.conv1.weight"),
        (r"vision\.pre_layrnorm\.(.+)", r"visual_encoder.ln_pre.\1"),
        (r"vision\.encoder\.layers\.(\d+)\.self_attn\.[qkv]_proj\.(.+)",
         r"visual_encoder.transformer.resblocks.\1.attn.in_proj_\2"),
        (r"vision\.encoder\.layers\.(\d+)\.self_attn\.out_proj\.(.+)",
         r"visual_encoder.transformer.resblocks.\1.attn.out_proj.\2"),
        (r"vision\.encoder\.layers\.(\d+)\.layer_norm([12])\.(.+)",
         r"visual_encoder.transformer.resblocks.\1.ln_\2.\3"),
        (r"vision\.encoder\.layers\.(\d+)\.mlp\.fc1\.(.+)", r"visual_encoder.transformer.resblocks.\1.mlp.c_fc.\2"),
        (r"vision\.encoder\.layers\.(\d+)\.mlp\.fc2\.(.+)", r"visual_encoder.transformer.resblocks.\1.mlp.c_proj.\2"),
        (r"text_embeddings\.(.+)", r"Qformer.bert.embeddings.\1"),
        (r"qformer\.layernorm\.(.+)", r"Qformer.bert.embeddings.LayerNorm.\1"),
        (r"qformer\.encoder\.layer\.(\d+)\.((?:cross)?attention)\.attention\.(.+)",
         r"Qformer.bert.encoder.layer.\1.\2.self.\3"),
        (r"qformer\.encoder\.layer\.(.+)", r"Qformer.bert.encoder.layer.\1"),
    )
)  # fmt: skip


def with_vision(
    published: Mapping[str, torch.Tensor], tower: Mapping[str, torch.Tensor], config: QureConfig, *, file: Path
) -> dict[str, torch.Tensor]:
    """Published tensors completed by CLIP's vision tower from a file of its own, LAVIS's `clip_vit_L.pth`.

    LAVIS leaves frozen parameters out of what it saves, and drops the tower's last block, final LayerNorm and
    projection when it loads that file; so does this.

    Raises:
        BadInput: `published` has a vision tower already, or `tower` holds none.
    """
    if any(key.startswith(_TOWER) for key in published):
        raise BadInput("the weights hold a vision tower already; leave vision_weights out", file=file)
    tower = {_TOWER + key.removeprefix("visual."): tensor for key, tensor in tower.items()}
    wanted = {published_name(name) for name in expected_shapes(config)}
    found = {key: tensor for key, tensor in tower.items() if key in wanted}
    if not found:
        raise BadInput("holds no tensors of a CLIP vision tower", file=file)
    return dict(published) | found


def _unknown_remedy(known: Collection[str]) -> str:
    if known:
        return (
            f"The other {len(known)} tensors are those of a QuRe or BLIP-2 ViT-L model: save without the unknown keys"
        )
    return "This is not a QuRe or BLIP-2 ViT-L file"


def _missing_remedy(missing: list[str]) -> str | None:
    if all(key.startswith(_TOWER) for key in missing):
        return "The file was saved without its frozen vision tower: give LAVIS's clip_vit_L.pth as vision weights"
    return None


def _listed(keys: list[str]) -> str:
    return ", ".join(keys[:10]) + (f" and {len(keys) - 10} more" if len(keys) > 10 else "")
