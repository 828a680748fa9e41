"""What later stages will ask of the cluster and can never get, said before the first of them works."""

from __future__ import annotations

from collections.abc import Container

from memo_ray.config.models import VllmModel
from memo_ray.config.run import RunConfig
from memo_ray.models.ray_engine import actor_resources


def check_room(config: RunConfig, stages: Container[str]) -> None:
    """Compare what `stages` of `config` hold at one time with the largest that the cluster can become.

    Needs a connection to Ray. Raises EnvironmentProblem or TrainingError, naming the key to lower.
    """
    generator, engine = config.synthesis.generator, config.evaluation.engine
    generated = config.synthesis.source == "generator" and not all(corpus.reflections for corpus in config.corpora)
    if "synthesis" in stages and generated and isinstance(generator, VllmModel):
        actor_resources(generator, generator.replicas)
    if "training" in stages:
        from memo_ray.training.ray_training import check_room as check_workers

        check_workers(config.training)
    if ("merging" in stages and config.merging is not None) or "evaluation" in stages:
        actor_resources(engine)
