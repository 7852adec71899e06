"""How many classes a chunk has."""

from math import gcd

# Numbers of a chunk.
ON_CPU = 2**20
ELSEWHERE = 2**21


def parts_of(length: int, devices: int) -> int:
    """Into how many parts an axis falls that some of the devices may share.

    The number of devices that hold a part each divides that of all devices, and the
    length. Where it is smaller than what this returns, a device holds several parts.
    """
    return gcd(length, devices) or 1


def chosen_size(length: int, width: int, platform: str) -> int:
    budget = ON_CPU if platform == "cpu" else ELSEWHERE
    size = max(1, budget // max(width, 1))
    return size if size < 128 else size // 128 * 128
