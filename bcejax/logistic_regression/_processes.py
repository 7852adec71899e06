"""What several processes have found, put together: the same in each of them.

The processes are those of `jax.distributed.initialize`. Each reads its own rows, and
they exchange the sums of a pass, once per pass: some times (d + 1)² numbers from each,
whatever the number of rows. Every process then takes the same step.
"""

import json

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def gathered(tree) -> list:
    """The tree of each process, in the order of their numbers, as arrays of NumPy.

    All have the same structure, shapes and dtypes. Numbers of Python stay such.
    """
    leaves, structure = jax.tree.flatten(tree)
    arrays = [np.asarray(leaf) for leaf in leaves]
    ends = np.cumsum([a.nbytes for a in arrays])[:-1]
    content = b"".join(a.tobytes() for a in arrays)
    trees = []
    for row in bytes_of_all(content):
        parts = zip(np.split(row, ends), arrays, leaves, strict=True)
        found = [as_it_was(part, a, leaf) for part, a, leaf in parts]
        trees.append(jax.tree.unflatten(structure, found))
    return trees


def as_it_was(content: np.ndarray, like: np.ndarray, leaf):
    array = np.frombuffer(content.tobytes(), like.dtype).reshape(like.shape)
    return array if isinstance(leaf, np.ndarray | jax.Array) else array.item()


def gathered_words(words) -> list:
    """What JSON can hold, of any length, from each process."""
    content = json.dumps(words).encode()
    longest = max(gathered(len(content)))
    return [json.loads(bytes(row)) for row in bytes_of_all(content.ljust(longest))]


def bytes_of_first(content: bytes | None) -> bytes | None:
    """What the first process has, of any length, in each of them."""
    found = gathered_words(None if content is None else content.hex())[0]
    return None if found is None else bytes.fromhex(found)


def bytes_of_all(content: bytes) -> np.ndarray:
    """`(processes, bytes)`."""
    devices = {device.process_index: device for device in reversed(jax.devices())}
    mesh = Mesh([devices[i] for i in range(jax.process_count())], ("processes",))
    own = NamedSharding(mesh, PartitionSpec("processes"))
    mine = np.frombuffer(content, np.uint8)[None]
    shape = len(devices), mine.shape[1]
    rows = jax.make_array_from_process_local_data(own, mine, shape)
    return np.asarray(on_all(NamedSharding(mesh, PartitionSpec()))(rows))


def on_all(sharding: NamedSharding):
    return jax.jit(lambda a: a, out_shardings=sharding)
