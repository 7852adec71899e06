"""How many classes a chunk has, and how several devices share them."""

from math import gcd

# Numbers that a chunk may hold. Chosen in benchmarks/heads.py: a CPU's chunk stays in
# its cache, an accelerator's is some megabytes and fills it.
ON_CPU = 2**22
ELSEWHERE = 2**21
LEAST = 128  # classes: a product with fewer columns does not fill the lanes


def parts_of(length: int, devices: int) -> int:
    """Into how many parts an axis falls, so that each is on one device only.

    Whichever number of the devices share an axis equally, it divides this number, so
    that a device holds one part or several whole ones.
    """
    return gcd(length, devices) or 1


def chosen_size(width: int, platform: str) -> int:
    """A power of two, for chunks that hold `width` numbers for each class.

    Most numbers of classes that are made by people are multiples of it. A TPU converts
    all of the kernel to bfloat16 at once if a smaller chunk is left at the end.
    """
    budget = ON_CPU if platform == "cpu" else ELSEWHERE
    return max(LEAST, 1 << (max(1, budget // max(width, 1)).bit_length() - 1))
