"""One of several processes that fit together, on JAX's distributed runtime."""

import jax

from bcejax._cli import UserError, about

START = 300  # seconds to wait for all processes
SILENCE = 30  # seconds without a sign of life, after which a process counts as dead
END = 10  # seconds that a process waits for the others when it ends


def join(
    coordinator: str | None, processes: int | None, number: int | None, alone: dict
) -> tuple[int, int]:
    """Which process this is, and of how many. `alone` are options of a single one."""
    given = coordinator, processes, number
    if given == (None, None, None):
        return 0, 1
    if None in given or not number < processes:
        raise UserError(
            "--coordinator HOST:PORT, --processes N and --process-id 0 to N - 1 must "
            f"be given together, got {coordinator}, {processes} and {number}"
        )
    for name, value in alone.items():
        if value and processes > 1:
            raise UserError(f"{name} is for a single process: others hold other rows")
    with about(f"--coordinator {coordinator}"):
        jax.distributed.initialize(
            coordinator,
            processes,
            number,
            initialization_timeout=START,
            heartbeat_timeout_seconds=SILENCE,
            shutdown_timeout_seconds=END,
        )
    return number, processes
