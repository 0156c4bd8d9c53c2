"""The predictor under test: the cost model, with what depends on job and cluster made once and kept between calls."""

from dataclasses import dataclass, field, replace

from glmplan.cost.step import CostModel, EstimateTable, cost_model
from glmplan.hardware.cluster import Cluster
from glmplan.layout.parallel_layout import LayoutTable
from glmplan.software.stack import Kernels, Stack
from glmplan.workload.job import TrainingJob


@dataclass(slots=True, kw_only=True)
class CostModelEstimator:
    """Estimates tables of layouts. A fit asks for the same jobs and clusters with ever new constants."""

    models: dict[tuple[TrainingJob, int, Kernels], tuple[CostModel, Cluster]] = field(default_factory=dict)
    """The cluster is kept with its model so that its identity stays its own."""

    def __call__(self, table: LayoutTable, job: TrainingJob, cluster: Cluster, stack: Stack) -> EstimateTable:
        """Time and memory of the layouts of ``table``. Raises NoData when the device has no peak for the precision."""
        key = job, id(cluster), stack.kernels
        if key not in self.models:
            self.models[key] = cost_model(job, cluster, stack), cluster
        model = self.models[key][0]
        launch_s = stack["host_launch_s"] if cluster.measured.host_launch_s is None else model.launch_s
        return replace(model, stack=stack, launch_s=launch_s).estimate(table)
