"""DeepSpeed's settings for a recipe: ZeRO stage 2, on GPUs or over gloo on a CPU.

Losses are scaled so that what DeepSpeed does to them (dividing by the accumulation steps, averaging over the
workers) leaves a sum over the step divided by its answer tokens, whatever the split.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from memo_ray.config.training import TrainingConfig
from memo_ray.models.embedded import cache_folder


def settings(config: TrainingConfig, accumulation: int, *, gpu: bool) -> dict[str, Any]:
    """The dictionary that `deepspeed.initialize` takes. `accumulation`: micro-batches of every step."""
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": config.max_grad_norm,
        "zero_optimization": {"stage": 2, "overlap_comm": gpu, "contiguous_gradients": gpu},
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": config.precision == "bf16"},
        "data_types": {"grad_accum_dtype": "fp32"},
        "steps_per_print": sys.maxsize,
        "wall_clock_breakdown": False,
    }


def environment(*, gpu: bool) -> dict[str, str]:
    """Environment of the worker processes, before anything imports DeepSpeed."""
    extensions = cache_folder() / "torch-extensions"
    variables = {
        # DeepSpeed compiles its shared-memory operator on first use; ninja lies beside the interpreter.
        "TORCH_EXTENSIONS_DIR": str(extensions),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "DS_LOG_LEVEL": "error",
    }
    return variables if gpu else variables | {"DS_ACCELERATOR": "cpu"}
