"""The vocabulary of Megatron-core, which Megatron-LM (arguments) and NeMo (YAML) share, and a plan in its words.

Names as in Megatron-LM's ``megatron/training/arguments.py`` (core 0.12 to 0.15), with underscores.
"""

from glmplan.architecture.transformer import Architecture
from glmplan.frameworks.configuration import Value, refuse
from glmplan.layout.parallel_layout import ContextKind, Offload, ParallelLayout, Recompute, Schedule, Sharding
from glmplan.plan.document import Plan
from glmplan.precision import Precision
from glmplan.workload.job import TrainingJob

Options = dict[str, Value]

DEGREES = {
    "tensor_model_parallel_size": "tp",
    "pipeline_model_parallel_size": "pp",
    "context_parallel_size": "cp",
    "expert_model_parallel_size": "ep",
    "expert_tensor_parallel_size": "expert_tp",
    "micro_batch_size": "micro_batch",
}
"""Option -> field of a ParallelLayout."""
WIDTHS = {
    "num_layers": "layers",
    "hidden_size": "hidden",
    "ffn_hidden_size": "ffn_hidden",
    "num_attention_heads": "heads",
    "num_query_groups": "kv_heads",
    "kv_channels": "head_dim",
    "vocab_size": "vocab",
    "num_experts": "moe.experts",
    "num_moe_experts": "moe.experts",
    "moe_router_topk": "moe.top_k",
    "moe_ffn_hidden_size": "moe.expert_ffn_hidden",
    "moe_shared_expert_intermediate_size": "moe.shared_expert_ffn_hidden",
    "q_lora_rank": "mla.q_lora_rank",
    "kv_lora_rank": "mla.kv_lora_rank",
    "qk_head_dim": "mla.qk_nope_head_dim",
    "qk_pos_emb_head_dim": "mla.qk_rope_head_dim",
    "v_head_dim": "mla.v_head_dim",
}
"""Option -> field of an Architecture."""
SHARDING_STRATEGIES = {
    "no_shard": Sharding.NONE,
    "optim": Sharding.ZERO1,
    "optim_grads": Sharding.ZERO2,
    "optim_grads_params": Sharding.FSDP,
}
"""``data_parallel_sharding_strategy`` of Megatron-FSDP -> what it shards."""
CONTEXT_KINDS = {
    "p2p": ContextKind.RING,
    "all_gather": ContextKind.ALL_GATHER,
    "a2a": ContextKind.ALL_TO_ALL,
    "a2a+p2p": ContextKind.HIERARCHICAL,
}
"""``cp_comm_type`` -> what travels."""
FP8_RECIPES = {"mxfp8": Precision.MXFP8, "blockwise": Precision.FP8_BLOCKWISE}
"""``fp8_recipe`` -> format; the other recipes scale whole tensors."""


def model_options(arch: Architecture) -> Options:
    """The architecture in Megatron's words. Raises InputError for a family that GPT pretraining does not cover."""
    if arch.family != "decoder":
        raise refuse("Megatron's GPT pretraining", "model", f"a {arch.family}", "export a decoder")
    options: Options = {
        "num_layers": arch.layers,
        "hidden_size": arch.hidden,
        "ffn_hidden_size": arch.ffn_hidden,
        "num_attention_heads": arch.heads,
        "vocab_size": arch.vocab,
        "normalization": "RMSNorm" if arch.norm == "rms" else "LayerNorm",
    }
    if arch.mla is None:
        options |= {"kv_channels": arch.head_dim}
        if arch.kv_heads != arch.heads:
            options |= {"group_query_attention": True, "num_query_groups": arch.kv_heads}
    else:
        options |= {"multi_latent_attention": True}
        options |= {"q_lora_rank": arch.mla.q_lora_rank} if arch.mla.q_lora_rank else {}
        options |= {name: getattr(arch.mla, WIDTHS[name][4:]) for name in _MLA_WIDTHS}
    if arch.moe is not None:
        moe, layers = arch.moe, arch.layers
        options |= {
            "num_experts": moe.experts,
            "moe_router_topk": moe.top_k,
            "moe_ffn_hidden_size": moe.expert_ffn_hidden,
            "moe_grouped_gemm": True,
        }
        options |= {"moe_shared_expert_intermediate_size": moe.shared_width} if moe.shared_width else {}
        if moe.dense_layers:
            options |= {"moe_layer_freq": f"([0]*{moe.dense_layers}+[1]*{layers - moe.dense_layers})"}
    switches = {
        "swiglu": arch.gated_mlp,
        "untie_embeddings_and_output_weights": not arch.tied_embeddings,
        "disable_bias_linear": not (arch.mlp_bias or arch.output_bias),
        "add_qkv_bias": arch.attention_bias and not arch.mlp_bias,
        "qk_layernorm": arch.qk_norm,
    }
    options |= {name: True for name, on in switches.items() if on}
    position = "learned_absolute" if arch.learned_positions else "rope"
    return options | {"position_embedding_type": position}


_MLA_WIDTHS = ("kv_lora_rank", "qk_head_dim", "qk_pos_emb_head_dim", "v_head_dim")


def layout_options(layout: ParallelLayout, job: TrainingJob) -> Options:
    """Parallelism, batch and recomputation in Megatron's words. Raises InputError for what Megatron cannot run."""
    stated = {option: getattr(layout, name) for option, name in DEGREES.items()}
    options: Options = {option: value for option, value in stated.items() if value is not None}
    if layout.cp > 1:
        if layout.context not in CONTEXT_KINDS.values():
            raise refuse("Megatron", "context", layout.context, f"use --context {', '.join(CONTEXT_KINDS.values())}")
        options["cp_comm_type"] = next(name for name, kind in CONTEXT_KINDS.items() if kind is layout.context)
    if job.architecture.moe is None:
        options = {name: value for name, value in options.items() if not name.startswith("expert_")}
    options["global_batch_size"] = layout.global_batch
    if layout.schedule not in (Schedule.ONE_F_ONE_B, Schedule.INTERLEAVED):
        raise refuse("Megatron", "schedule", layout.schedule, "use --schedule 1f1b,interleaved")
    if layout.virtual_stages > 1:
        options["num_virtual_stages_per_pipeline_rank"] = layout.virtual_stages
    if layout.sequence_parallel:
        options["sequence_parallel"] = True
    if "activations" in layout.offload:
        raise refuse("Megatron", "offload", layout.offload, "use --offload none or optimizer")
    if layout.offload is Offload.OPTIMIZER:
        options["optimizer_cpu_offload"] = True
    return options | _sharding_options(layout) | _recompute_options(layout) | _stage_options(layout)


def _sharding_options(layout: ParallelLayout) -> Options:
    if layout.sharding is Sharding.NONE:
        return {}
    if layout.sharding is Sharding.ZERO1:
        return {"use_distributed_optimizer": True}
    strategy = {Sharding.ZERO2: "optim_grads"}.get(layout.sharding, "optim_grads_params")
    options: Options = {
        "use_distributed_optimizer": True,
        "use_megatron_fsdp": True,
        "data_parallel_sharding_strategy": strategy,
    }
    if layout.sharding is Sharding.HSDP:
        options["num_distributed_optimizer_instances"] = layout.dp * layout.cp // layout.shard_group
    return options


def _recompute_options(layout: ParallelLayout) -> Options:
    if layout.recompute is Recompute.NONE:
        return {}
    if layout.recompute is Recompute.SELECTIVE:
        return {"recompute_granularity": "selective"}
    if layout.stage_recompute_layers is not None:
        raise refuse("Megatron", "stage_recompute_layers", "unlike stages", "it recomputes alike on every stage")
    first = layout.recompute_layers
    method, each = ("uniform", 1) if first is None else ("block", first)
    return {"recompute_granularity": "full", "recompute_method": method, "recompute_num_layers": each}


def _stage_options(layout: ParallelLayout) -> Options:
    """Uneven stages: Megatron takes other counts for the first and the last stage only."""
    stages = layout.stage_layers
    if stages is None:
        return {}
    inner = set(stages[1:-1])
    if layout.virtual_stages > 1 or len(inner) > 1:
        text = ",".join(map(str, stages))
        raise refuse(
            "Megatron", "stage_layers", text, "only the first and the last stage may differ; plan with --stages uniform"
        )
    return {"decoder_first_pipeline_num_layers": stages[0], "decoder_last_pipeline_num_layers": stages[-1]}


def precision_options(job: TrainingJob) -> Options:
    """The number format in the words of Megatron-LM's arguments."""
    match job.precision:
        case Precision.FP16:
            return {"fp16": True}
        case Precision.FP32 | Precision.TF32:
            return {}
        case Precision.FP8:
            return {"bf16": True, "fp8_format": "hybrid"}
        case Precision.MXFP8 | Precision.FP8_BLOCKWISE:
            recipe = next(name for name, precision in FP8_RECIPES.items() if precision is job.precision)
            return {"bf16": True, "fp8_format": "e4m3", "fp8_recipe": recipe}
        case Precision.NVFP4:
            return {"bf16": True, "fp4_format": "e2m1", "fp4_recipe": "nvfp4"}
        case _:
            return {"bf16": True}


def plan_options(plan: Plan) -> Options:
    """All options that the plan fixes."""
    job, layout = plan.request.job, plan.chosen.layout
    options = model_options(job.architecture) | {"seq_length": job.seq_len, "max_position_embeddings": job.seq_len}
    optimizer = "sgd" if job.optimizer == "sgd" else "adam"
    return options | layout_options(layout, job) | precision_options(job) | {"optimizer": optimizer}
