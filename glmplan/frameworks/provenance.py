"""Where a written configuration came from, as comment lines."""

import hashlib

from glmplan.plan.document import Plan, plan_text


def header(plan: Plan) -> list[str]:
    """Comment lines without their comment mark; nothing of the user's in them can end a comment."""
    digest = hashlib.sha256(plan_text(plan).encode()).hexdigest()
    step_s = plan.chosen.estimate.step_time_s
    lines = [
        f"Written by glmplan {plan.provenance.glmplan_version} from a plan with SHA-256 {digest}.",
        f"{plan.request.job.architecture.name} on {plan.request.num_gpus} {plan.cluster.device}:"
        f" {plan.chosen.layout.label()}, predicted {step_s:.4g} s a step.",
    ]
    return [" ".join(line.split()) for line in lines]
