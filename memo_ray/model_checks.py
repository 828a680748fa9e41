"""Finds every model that a command will need before anything long starts."""

from __future__ import annotations

from memo_ray.models.opening import check_key, key_of, source_of
from memo_ray.models.sources import resolve
from memo_ray.synthesis.language import check_languages
from memo_ray.workspace import Workspace


def check_models(run: Workspace, wanted: tuple[str, ...]) -> None:
    """Find every model that the wanted stages name, before the first of them starts. Raises ConfigError."""
    generated = run.config.synthesis.source == "generator"
    if "synthesis" in wanted and generated and not all(corpus.reflections for corpus in run.config.corpora):
        source_of(run.config.synthesis.generator, "synthesis.generator")
        check_key(key_of(run.config.synthesis.generator), "synthesis.generator")
        check_languages(run.config.synthesis.quality.languages, "synthesis.quality.languages")
    if "training" in wanted:
        from memo_ray.planning.training import check_fit

        resolve(run.config.training.base, run.config.training.revision, "training.base")
        check_fit(run)
    if "evaluation" in wanted:
        source_of(run.config.serving.executive, "serving.executive")
        check_key(key_of(run.config.serving.executive), "serving.executive")
        check_key(run.config.serving.api_key_env, "serving")
        if run.config.evaluation.comparison is not None:
            from memo_ray.evaluation.served_comparison import check_keys, check_questions

            check_questions(run.config.corpora)
            check_keys(run.config.evaluation.comparison, run.config.serving)
