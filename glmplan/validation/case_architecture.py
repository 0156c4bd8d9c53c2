"""A case's model record as an architecture."""

from typing import Any

from glmplan.architecture.transformer import Architecture, LatentAttention, MixtureOfExperts
from glmplan.plan.measurement import Measurement
from glmplan.validation.case_fields import Fields, Unusable

_OPTIONAL = frozenset(Architecture.model_fields) - {
    "name", "family", "layers", "hidden", "heads", "kv_heads", "head_dim", "ffn_hidden", "vocab", "learned_positions",
    "moe", "mla", "source",
}  # fmt: skip


def case_architecture(measurement: Measurement, fields: Fields) -> Architecture:
    """The architecture of ``measurement.model``.

    Raises Unusable when a needed size is not stated or the family is not modelled, ValidationError when sizes
    contradict each other.
    """
    model = measurement.model
    family = model.get("family", "decoder")
    if family not in ("decoder", "encoder", "encoder-decoder"):
        raise Unusable(f"model.family: {family} is not modelled")
    if family == "encoder-decoder" and not model.get("decoder_layers"):
        raise Unusable("the source does not state: model.decoder_layers")
    hidden, heads = fields.whole("model.hidden"), fields.whole("model.heads")
    sizes: dict[str, Any] = {
        "name": str(model.get("name") or measurement.id),
        "family": family,
        "layers": fields.whole("model.layers"),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": fields.whole("model.kv_heads", default=heads),
        "head_dim": fields.whole("model.head_dim", default=max(1, hidden // heads)),
        "vocab": fields.whole("model.vocab"),
    }
    for name in sorted(_OPTIONAL):
        value = fields.get(f"model.{name}")
        if value is not None:
            sizes[name] = value
    moe = _experts(model, sizes["layers"])
    if moe is not None and moe.dense_layers == 0:
        # No layer has the dense MLP whose width this is.
        sizes["ffn_hidden"] = fields.whole("model.ffn_hidden", default=moe.expert_ffn_hidden)
    elif sizes.get("gated_mlp", True):
        sizes["ffn_hidden"] = fields.whole("model.ffn_hidden")
    else:
        sizes["ffn_hidden"] = fields.whole("model.ffn_hidden", default=4 * hidden)
    positions = fields.get("model.learned_positions")
    sizes["learned_positions"] = fields.whole("seq_len") if positions == "seq_len" else positions or 0
    return Architecture(**sizes, moe=moe, mla=_latent_attention(fields))


def _experts(model: dict[str, Any], layers: int) -> MixtureOfExperts | None:
    """The published records count expert layers (``moe_layers``); the architecture counts the dense ones."""
    moe = model.get("moe")
    if not moe:
        return None
    if not isinstance(moe, dict):
        raise Unusable(f"contradictory: model.moe: expected its fields; got {moe!r}")
    known = {name: value for name, value in moe.items() if name in MixtureOfExperts.model_fields and value is not None}
    if isinstance(moe.get("moe_layers"), int):
        if moe["moe_layers"] > layers:
            raise Unusable(f"contradictory: model.moe.moe_layers: {moe['moe_layers']} is more than layers {layers}")
        known["dense_layers"] = layers - moe["moe_layers"]
    return MixtureOfExperts(**known)


def _latent_attention(fields: Fields) -> LatentAttention | None:
    mla = fields.get("model.mla")
    return None if not mla else LatentAttention.model_validate(mla)
