"""Models in files: written at once or not at all, and read again."""

import errno
import os
from pathlib import Path

from bcejax._files import complete
from bcejax.logistic_regression._document import (
    damaged,
    document_of,
    model_of,
    read,
    text_of,
)
from bcejax.logistic_regression._outcome import Fit, MultinomialFit


def save(path: str | os.PathLike, model: Fit | MultinomialFit) -> None:
    """Write a model as JSON, which `load` reads; the command line writes the same.

    The file is written completely or not at all: until it is on the disk, `path` holds
    what it held before. It has no data but the names of the columns, and no code.

    Args:
      path: of the file, which is replaced if there is one.
      model: of two classes or of many, by any solver; also several in one, as of vmap
        and the `models` of a `Path`.
    Returns:
      Nothing.
    Raises:
      TypeError: if `model` is no `Fit` or `MultinomialFit`.
      ValueError: if fields of `model` have shapes that do not go together, or dtypes
        that no fit has.
      OSError: if the file cannot be written.
    Example:
      >>> import pathlib, tempfile
      >>> import jax.numpy as jnp
      >>> from bcejax.logistic_regression import fit, load
      >>> model = fit(jnp.array([[0.0], [1.0], [2.0], [3.0]]), jnp.array([0, 1, 0, 1]))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "model.json"
      ...     save(path, model)
      ...     print(load(path).weights == model.weights)
      [ True]
    """
    content = text_of(document_of(model))
    path = Path(path)
    try:
        with complete(path) as file:
            file.write(content)
    except OSError as error:
        kept = "what it held before is kept" if path.exists() else "there is no file"
        reason = os.strerror(error.errno or errno.EIO)
        words = f"The model could not be written ({reason}), {kept}"
        raise OSError(error.errno, words, str(path)) from error


def load(path: str | os.PathLike) -> Fit | MultinomialFit:
    """Read the model that `save` or the command line has written.

    All fields come back with their dtypes and bits. As after a fit, float64 is rounded
    to float32 unless JAX is in 64-bit mode. Of a model of the command line the columns
    are its features, such as "city=Bern" for a level of a category, in its order.

    Args:
      path: of the file.
    Returns:
      A `Fit` or a `MultinomialFit`, as it was saved.
    Raises:
      ValueError: if the file is no such model, is damaged, or has a version that this
        version of bcejax does not read.
      OSError: if the file cannot be read.
    Example:
      >>> import pathlib, tempfile
      >>> import jax.numpy as jnp
      >>> from bcejax.logistic_regression import fit, predict_logits, save
      >>> model = fit(jnp.array([[0.0], [1.0], [2.0], [3.0]]), jnp.array([0, 1, 0, 1]))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "model.json"
      ...     save(path, model)
      ...     again = load(path)
      >>> print(predict_logits(again, jnp.array([[1.5], [3.0]])))
      [0. 1.36]
    """
    try:
        return model_of(read(path))
    except ValueError as error:
        raise ValueError(f"{damaged(path)}: {error}") from None
