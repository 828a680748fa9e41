"""DeepSpeed's ZeRO-2 engine for a worker: its settings, its optimiser, its environment.

The same code runs on GPUs over NCCL and on a CPU over gloo. Nothing is compiled: the optimiser is PyTorch's fused
AdamW on both, and the one operator that DeepSpeed would build on a CPU serves launchers other than Ray.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from memo_ray.artifacts.cache import cache_folder
from memo_ray.config.training import TrainingConfig

CPU_OPERATOR = "deepspeed_shm_comm"


def settings(config: TrainingConfig, *, gpu: bool, workers: int = 1) -> dict[str, Any]:
    """The dictionary that `deepspeed.initialize` takes.

    Accumulation is ours: a step has as many backward passes as it has micro-batches, and `engine.step()` ends it.
    Gradients are summed in float32, whatever the weights' type. A single worker has nobody to send gradients to:
    overlapping that with computing would only stop the GPU at every bucket, and scattering copy each one twice more.
    """
    several = workers > 1
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": config.max_grad_norm,
        "zero_optimization": {
            "stage": 2,
            "overlap_comm": gpu and several,
            "reduce_scatter": several,
            "contiguous_gradients": gpu,
        },
        "bf16": {"enabled": config.precision == "bf16"},
        "data_types": {"grad_accum_dtype": "fp32"},
        "steps_per_print": sys.maxsize,
    }


def environment(*, gpu: bool, cpus: int) -> dict[str, str]:
    """Environment of the worker processes, set before anything in them imports DeepSpeed or torch."""
    shared = {
        # A GPU machine's DeepSpeed may still want to compile an operator; ninja lies beside the interpreter.
        "TORCH_EXTENSIONS_DIR": str(cache_folder() / "torch-extensions"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    return shared if gpu else shared | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": str(cpus)}


def start_engine(model: Any, config: TrainingConfig, *, gpu: bool) -> Any:
    """A ZeRO-2 engine over `model`, whose optimiser is AdamW. torch.distributed must be set up."""
    import deepspeed
    import torch
    import torch.distributed as dist

    # Only used where MPI starts all workers on one machine, which Ray does not; building it takes a compiler and
    # half a minute.
    deepspeed.ops.__compatible_ops__[CPU_OPERATOR] = False
    optimizer = torch.optim.AdamW(parameter_groups(model, config.weight_decay), lr=config.learning_rate, fused=True)
    chosen = settings(config, gpu=gpu, workers=dist.get_world_size())
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=chosen)
    return engine


def parameter_groups(model: Any, weight_decay: float) -> list[dict[str, Any]]:
    """What the optimiser trains: matrices with weight decay, norms and biases without it."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
