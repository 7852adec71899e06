"""What XLA makes of the losses for a GPU and a TPU, on a machine that has neither.

    pip install jax optax libtpu "jax-cuda12-plugin==JAXLIB" "jax-cuda12-pjrt==JAXLIB"
    python benchmarks/accelerators.py              both devices, about two minutes
    python benchmarks/accelerators.py h100 dense   printed and not written

where JAXLIB is the version of jaxlib. JAX compiles for a device that is only described.
Nothing is run, so there are no times and no results. The compiled text shows what the
speed of these losses hangs on: the bytes that pass through the device's memory, the
temporary memory, and the number of kernels.

A kernel is counted as reading each of its operands once and writing each of its
results once. Where it takes slices or gathers of an operand, only those are counted.
Arrays that a TPU keeps in its on-chip memory are counted as nothing.
"""

import argparse
import re
from collections.abc import Callable, Iterator
from math import prod
from typing import NamedTuple

import _results
import jax
import jax.numpy as jnp
import optax
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

import bcejax
from bcejax.logistic_regression import _objective, _problem

H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 }
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84978434048
  shared_memory_per_block_optin: 232448
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 3 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
DEVICES = {
    "h100": ("NVIDIA H100", {"platform": "cuda", "topology": "1x1x1"}),
    "v5e": ("TPU v5e", {"platform": "tpu", "topology_name": "v5e:2x2"}),
}


# Counting


class Count(NamedTuple):
    moved: int = 0  # bytes
    kernels: int = 0
    open_loops: int = 0  # whose turns the compiler does not know: counted as one turn

    def plus(self, other: "Count", times: int = 1) -> "Count":
        return Count(*(a + times * b for a, b in zip(self, other, strict=True)))


class Instruction(NamedTuple):
    name: str
    type: str
    operation: str
    operands: list[str]
    attributes: str


Computations = dict[str, dict[str, Instruction]]
NO_KERNEL = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
    *("partition-id", "copy-done", "async-done", "optimization-barrier"),
}
NESTED = {"while", "call", "conditional"}
PARTIAL = {"slice", "dynamic-slice", "gather"}  # read no more than they return


def count(text: str) -> Count:
    """The bytes and kernels of a compiled program, given as XLA prints it."""
    computations = parsed(text)
    entry = re.search(r"^ENTRY %?([\w.\-]+) ", text, re.MULTILINE)[1]
    return _count_of(entry, computations)


def parsed(text: str) -> Computations:
    blocks = re.findall(
        r"^(?:ENTRY )?%?([\w.\-]+) \([^\n]*\{\n(.*?)^\}", text, re.DOTALL | re.MULTILINE
    )
    return {name: _instructions(lines) for name, lines in blocks}


def _instructions(lines: str) -> dict[str, Instruction]:
    pattern = r"\s*(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)"
    found = {}
    # A comment such as /*index=5*/ stands among the types of long tuples.
    for line in re.sub(r"/\*.*?\*/", "", lines).splitlines():
        if match := re.match(pattern, line):
            name, type_, operation, rest = match.groups()
            operands, _, attributes = rest.partition(")")
            names = re.findall(r"%([\w.\-]+)", operands)
            found[name] = Instruction(name, type_, operation, names, attributes)
            if operation == "parameter":
                found[name] = found[name]._replace(attributes=operands)
    return found


def _count_of(name: str, computations: Computations) -> Count:
    total = Count()
    for instruction in computations[name].values():
        if instruction.operation in NESTED:
            total = total.plus(*_nested(instruction, computations))
        elif instruction.operation not in NO_KERNEL:
            moved = _moved(instruction, computations[name], computations)
            total = total.plus(Count(moved, 1))
    return total


def _nested(instruction: Instruction, computations: Computations) -> tuple[Count, int]:
    """The most expensive of the computations called, and how often it runs."""
    calls = _called(instruction.attributes, "body|to_apply|calls|branch_computations")
    most = max((_count_of(name, computations) for name in calls), default=Count())
    turns = re.search(r'known_trip_count":\{"n":"(\d+)"', instruction.attributes)
    if turns:
        return most, int(turns[1])
    return most.plus(Count(open_loops=instruction.operation == "while")), 1


def _called(attributes: str, keys: str) -> list[str]:
    values = re.findall(rf"\b(?:{keys})=(\{{.*?\}}|%?[\w.\-]+)", attributes)
    return re.findall(r"[\w.\-]+", " ".join(values))


def _moved(instruction, neighbours, computations: Computations) -> int:
    """Bytes that one kernel reads and writes."""
    if instruction.operation == "copy-start":  # (target, source, a token)
        return bytes_of(", ".join(re.findall(r"\w+\[.*?\]\S*", instruction.type)[:2]))
    inside = None
    if instruction.operation == "fusion":
        (name,) = _called(instruction.attributes, "calls")
        inside = computations[name]
    read = 0
    for place, operand in enumerate(instruction.operands):
        whole = bytes_of(neighbours[operand].type)
        if inside:
            read += min(whole, _read_inside(inside, place, whole))
        elif instruction.operation in PARTIAL and place == 0:
            read += min(whole, bytes_of(instruction.type))
        else:
            read += whole
    return read + bytes_of(instruction.type)


def _read_inside(inside: dict[str, Instruction], place: int, whole: int) -> int:
    """Bytes that a fusion reads of its operand at `place`, if it reads parts alone."""
    parameter = next(
        i
        for i in inside.values()
        if i.operation == "parameter" and i.attributes == str(place)
    )
    if bytes_of(parameter.type) and not whole:
        return 0  # on the chip
    users = [i for i in inside.values() if parameter.name in i.operands]
    if any(
        u.operation not in PARTIAL or u.operands[0] != parameter.name for u in users
    ):
        return whole
    return sum(bytes_of(u.type) for u in users)


def bytes_of(type_: str) -> int:
    """Bytes of an array or tuple in the device's main memory, by its type in XLA."""
    total = 0
    for kind, dims, layout in re.findall(
        r"([a-z]+\d*\w*)\[([\d,]*)\](\{[^{}]*\})?", type_
    ):
        on_chip = re.search(r"S\([1-9]\d*\)", layout)
        size = prod(int(dim) for dim in dims.split(",") if dim)
        total += 0 if on_chip else size * _item_bytes(kind)
    return total


def _item_bytes(kind: str) -> int:
    """Of an array's element: f32, bf16, s8, u32, pred. A token has none."""
    bits = re.search(r"\d+", kind)
    return int(bits[0]) // 8 if bits else int(kind == "pred")


# Compiling


class Cost(NamedTuple):
    moved: int
    least: int  # the arguments and the results
    temporary: int
    kernels: int
    open_loops: int

    def cells(self) -> list[str]:
        megabytes = [f"{b / 1e6:,.0f}" for b in (self.least, self.temporary)]
        at_least = "≥ " if self.open_loops else ""
        moved = f"{at_least}{self.moved / 1e6:,.0f}"
        ratio = f"{at_least}{self.moved / self.least:.2f}"
        return [moved, *megabytes, ratio, f"{at_least}{self.kernels}"]


def topology(device: str):
    _, options = DEVICES[device]
    if device == "h100":
        options = {**options, "topology_name": "described", "target_config": H100}
    return topologies.get_topology_desc(**options)


def cost(described, function: Callable, *arguments) -> Cost:
    """Of `function` compiled for a described topology; arguments are shapes."""
    place = SingleDeviceSharding(described.devices[0])
    shapes = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), arguments
    )
    compiled = jax.jit(function).trace(*shapes).lower().compile()
    found = count(compiled.as_text())
    results = jax.eval_shape(function, *arguments)
    least = sum(
        a.size * a.dtype.itemsize for a in jax.tree.leaves((arguments, results))
    )
    temporary = compiled.memory_analysis().temp_size_in_bytes
    return Cost(found.moved, least, temporary, found.kernels, found.open_loops)


# What is compiled


Case = tuple[str, str, Callable, tuple]  # what, by whom, function, arguments


def cases() -> Iterator[Case]:
    for dtype in (jnp.float32, jnp.bfloat16):
        yield from _binary(dtype)
        for shape in ((4096, 32_000), (2_000_000, 10)):
            yield from _softmax(shape, dtype)
        yield from _information((2_000_000, 10), dtype)
    for rows, columns in ((1_000_000, 50), (100_000, 500), (1_280_000, 768)):
        yield from _fit(rows, columns)


def _trained(loss: Callable) -> Callable:
    """Value and gradient of the mean."""
    return jax.value_and_grad(lambda x, *y: jnp.mean(loss(x, *y).astype(jnp.float32)))


def _beside(what: str, losses: dict[str, Callable], *arguments) -> Iterator[Case]:
    for name, loss in losses.items():
        yield what, name, _trained(loss), arguments


def _binary(dtype) -> Iterator[Case]:
    x = jax.ShapeDtypeStruct((10_000_000,), dtype)
    losses = {
        "BCE": (bcejax.bce_with_logits, optax.sigmoid_binary_cross_entropy),
        "focal": (bcejax.sigmoid_focal_loss, optax.sigmoid_focal_loss),
    }
    for name, (ours, theirs) in losses.items():
        what = f"{name}, 10,000,000, {x.dtype}"
        yield from _beside(what, {"bcejax": ours, "optax": theirs}, x, x)


def _softmax(shape: tuple[int, int], dtype) -> Iterator[Case]:
    x = jax.ShapeDtypeStruct(shape, dtype)
    index = jax.ShapeDtypeStruct(shape[:1], jnp.int32)
    size = f"{shape[0]:,} × {shape[1]:,}, {x.dtype}"
    integer = {
        "bcejax": bcejax.softmax_cross_entropy_with_integer_labels,
        "optax": optax.softmax_cross_entropy_with_integer_labels,
    }
    dense = {
        "bcejax": bcejax.softmax_cross_entropy,
        "optax": optax.softmax_cross_entropy,
    }
    log_softmax = {
        "bcejax": lambda x, y: y * bcejax.log_softmax(x),
        "jax.nn": lambda x, y: y * jax.nn.log_softmax(x),
    }
    yield from _beside(f"integer softmax, {size}", integer, x, index)
    yield from _beside(f"dense softmax, {size}", dense, x, x)
    yield from _beside(f"log_softmax · y, {size}", log_softmax, x, x)


def _information(shape: tuple[int, int], dtype) -> Iterator[Case]:
    p = jax.ShapeDtypeStruct(shape, dtype)
    size = f"{shape[0]:,} × {shape[1]:,}, {p.dtype}"
    divergence = {
        "bcejax": bcejax.kl_divergence,
        "plain jnp": lambda p, q: jnp.sum(p * (jnp.log(p) - jnp.log(q)), -1),
    }
    entropy = {
        "bcejax": bcejax.entropy,
        "plain jnp": lambda p: -jnp.sum(p * jnp.log(p), -1),
    }
    yield from _beside(f"KL divergence, {size}", divergence, p, p)
    yield from _beside(f"entropy, {size}", entropy, p)


def _fit(rows: int, columns: int) -> Iterator[Case]:
    """One gradient, which the solvers of the fit take many times."""
    number, row = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((), (rows,)))
    weights, features = (
        jax.ShapeDtypeStruct(s, jnp.float32) for s in ((columns,), (rows, columns))
    )
    problem = _problem.Problem(features, row, row, row, number)
    what = f"a gradient of the fit, {rows:,} × {columns}, float32"
    losses = {"bcejax": _objective.objective, "plain jnp": _plain_objective}
    for name, loss in losses.items():
        yield (
            what,
            name,
            jax.value_and_grad(loss),
            (_problem.Params(weights, number), problem),
        )


def _plain_objective(params, problem: _problem.Problem) -> jax.Array:
    weights, bias = params
    logits = problem.features @ weights + bias + problem.offset
    losses = optax.sigmoid_binary_cross_entropy(logits, problem.labels)
    return problem.share @ losses + problem.l2 / 2 * weights @ weights


# The section


HEADER = ["by", "moved", "in + out", "temporary", "moved / in + out", "kernels"]
TEXT = (
    "Nothing here was run on a GPU or a TPU: XLA compiled for a described NVIDIA H100 "
    "(80 GB, SXM) and for one core of a TPU v5e, and the compiled programs were "
    "counted. There are no times. Megabytes of one call of value_and_grad of the mean, "
    "in the first argument. `moved`: what the kernels read and write, each operand and "
    "each result once; of an operand that is sliced or gathered the part taken, and "
    "nothing for arrays that the TPU keeps on its chip. `in + out`: arguments and "
    "results, the least that can be moved. `temporary`: what the compiler reserves. "
    "A kernel in a loop counts as often as the loop turns. A figure with ≥ is of a "
    "program with a loop whose turns XLA does not say; they are counted as one.\n\n"
)


def rows_for(device: str, only: str = "") -> list[list[str]]:
    described, rows = topology(device), []
    for what, name, function, arguments in cases():
        if only in what:
            found = cost(described, function, *arguments)
            rows.append([what, name, *found.cells()])
            print(device, *rows[-1], sep="  ", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("device", nargs="?", choices=[*DEVICES])
    parser.add_argument("only", nargs="?", default="", help="cases that hold this word")
    given = parser.parse_args()
    # Plugins for a GPU and a TPU are installed, but there is no device to start.
    jax.config.update("jax_platforms", "cpu")
    if given.device:
        rows_for(given.device, given.only)
        return
    tables = [
        _results.table([name, *HEADER], rows_for(device))
        for device, (name, _) in DEVICES.items()
    ]
    _results.write("Compiled for", TEXT + "".join(tables))


if __name__ == "__main__":
    main()
