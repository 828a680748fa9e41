"""Which models are proposed for which GPUs."""

from __future__ import annotations

import pytest

from memo_ray.sizing import (
    GB,
    SIZES,
    Engine,
    Gpu,
    Machine,
    Trainable,
    choose_models,
    engine_for,
    parse_gpu,
    trainable_on,
)

MIB = 2**20


def qwen(size: str) -> str:
    return f"Qwen/Qwen2.5-{size}-Instruct"


@pytest.mark.parametrize(
    ("mebibytes", "gpus", "size", "parallel"),
    [
        (8192, 1, "1.5B", 1),
        (15360, 1, "1.5B", 1),
        (24564, 1, "7B", 1),
        (24564, 2, "14B", 2),
        (24564, 4, "32B", 4),
        (40960, 1, "14B", 1),
        (81559, 1, "32B", 1),
        (143771, 8, "32B", 1),
    ],
)
def test_the_largest_generator_that_fits_on_the_fewest_gpus(
    mebibytes: int, gpus: int, size: str, parallel: int
) -> None:
    assert engine_for(mebibytes * MIB, gpus) == Engine(qwen(size), parallel)


@pytest.mark.parametrize(
    ("mebibytes", "gpus", "size", "length"),
    [
        (24564, 1, "0.5B", 8096),
        (49140, 1, "1.5B", 8096),
        (81559, 1, "1.5B", 8096),
        (81559, 4, "7B", 8096),
        (81559, 8, "14B", 8096),
        (15360, 1, "0.5B", 2048),
    ],
)
def test_the_largest_memory_that_can_be_fine_tuned_in_full(mebibytes: int, gpus: int, size: str, length: int) -> None:
    assert trainable_on(mebibytes * MIB, gpus) == Trainable(qwen(size), length)


def test_a_limit_on_parameters_and_gpus_that_are_too_small() -> None:
    assert engine_for(81559 * MIB, 1, at_most=8) == Engine(qwen("7B"), 1)
    assert engine_for(2 * GB, 1) is None
    assert engine_for(81559 * MIB, 0) is None
    assert trainable_on(8 * GB, 1) is None


def test_every_size_is_smaller_than_the_one_before() -> None:
    assert [size.parameters for size in SIZES] == sorted((size.parameters for size in SIZES), reverse=True)


def test_models_of_a_machine() -> None:
    def machine(count: int, mebibytes: int) -> Machine:
        return Machine(8, 64 * GB, (Gpu("GPU", mebibytes * MIB),) * count)

    assert choose_models(Machine(2, 16 * GB)) == (None, None, None)
    assert choose_models(machine(1, 6144)) == (None, None, None)
    generator, memory, executive = choose_models(machine(1, 81559))
    assert generator is not None and memory is not None and executive is None
    assert choose_models(machine(2, 24564))[2] == Engine(qwen("7B"), 1)
    assert choose_models(machine(8, 81559)) == (
        Engine(qwen("32B"), 1),
        Trainable(qwen("14B"), 8096),
        Engine(qwen("32B"), 1),
    )


def test_the_smallest_gpu_counts() -> None:
    mixed = Machine(8, 64 * GB, (Gpu("A", 81559 * MIB), Gpu("B", 24564 * MIB)))
    assert choose_models(mixed) == choose_models(Machine(8, 64 * GB, (Gpu("B", 24564 * MIB),) * 2))


def test_lines_of_nvidia_smi() -> None:
    assert parse_gpu("NVIDIA H200, 143771 MiB") == Gpu("NVIDIA H200", 143771 * MIB)
    assert parse_gpu("0000:3b:00.0") is None


def test_this_machine_has_something() -> None:
    here = Machine.here()
    assert here.cores >= 1 and here.memory > 0
