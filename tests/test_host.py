"""Tables, columns, lists and NumPy arrays of any dtype become arrays of numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse

from bcejax._host import columns, matrix, numbers

DATA = {"a": [1, 2, 3], "b": [1.5, float("nan"), 3.0], "c": [True, False, True]}
TABLES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "arrow": pa.table}
each_table = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)


@each_table
def test_a_table_is_a_matrix_and_names(table):
    found, names = matrix(table(DATA), "features")
    assert names == ("a", "b", "c")
    expected = [[1, 1.5, 1], [2, np.nan, 0], [3, 3, 1]]
    np.testing.assert_array_equal(found, expected)


@each_table
def test_columns_are_found_by_name_in_any_order(table):
    np.testing.assert_array_equal(
        columns(table(DATA), ["c", "a"], "features"), [[1, 1], [0, 2], [1, 3]]
    )
    with pytest.raises(ValueError, match=r'features lacks the column "z": .*"a", "z"'):
        columns(table(DATA), ["a", "z"], "features")


@each_table
def test_a_column_is_an_array(table):
    np.testing.assert_array_equal(numbers(table(DATA)["a"], "labels"), [1, 2, 3])
    missing = table({"x": [1, None, 3]})
    np.testing.assert_array_equal(matrix(missing, "x")[0][:, 0], [1, np.nan, 3])


@pytest.mark.parametrize("dtype", ["Int64", "boolean", "Float32", "int64[pyarrow]"])
def test_missing_values_of_pandas_own_dtypes_are_nan(dtype):
    column = pd.Series([1, None, 1], dtype=dtype)
    np.testing.assert_array_equal(numbers(column, "labels"), [1, np.nan, 1])


def test_masked_values_are_nan():
    masked = np.ma.array([1, 99], mask=[False, True])
    np.testing.assert_array_equal(numbers(masked, "labels"), [1, np.nan])


@each_table
def test_a_column_of_text_is_refused_by_its_name(table):
    with pytest.raises(TypeError, match=r'column "x" must be numbers, .* such as u'):
        matrix(table({"y": [1, 2], "x": ["u", "v"]}), "features")


DAYS = pd.date_range("2020", periods=2)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pd.Series([1, 2]).astype("category"), "categories"),
        (pl.Series(["a", "b"], dtype=pl.Categorical), "categories"),
        (pl.Series(["a", "b"], dtype=pl.Enum(["a", "b"])), "categories"),
        (pa.chunked_array([[1, 2]]).dictionary_encode(), "categories"),
        (pd.Series(DAYS), "dates"),
        (pd.Series(DAYS.tz_localize("UTC")), "objects"),
        (pd.Series(DAYS - DAYS[0]), "durations"),
        (pl.Series([True, None]), "objects"),
        (np.array(["a"]), "text"),
        (["a", "b"], "text"),
        ([1j], "complex numbers"),
        (None, "objects"),
    ],
)
def test_what_is_no_quantity_is_refused_by_its_kind(column, kind):
    with pytest.raises(TypeError, match=f"labels must be numbers, got {kind} such as "):
        numbers(column, "labels")


def test_a_sparse_matrix_is_refused_in_words():
    with pytest.raises(TypeError, match=r"must be dense, got csr_matrix.*toarray"):
        matrix(scipy.sparse.eye(3).tocsr(), "features")


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(ValueError, match='two columns with the name "x"'):
        matrix(pd.DataFrame([[1, 2]], columns=["x", "x"]), "features")


def test_rows_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="features is no array"):
        matrix([[1, 2], [3]], "features")


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_integers_of_64_bits_become_floats(dtype):
    large = np.array([[5_000_000_000, 2**62]], dtype)
    found, names = matrix(large, "features")
    assert found.dtype == np.float64 and names is None
    np.testing.assert_array_equal(found, np.float64(large))
    assert matrix(large.tolist(), "features")[0].dtype == np.float64


@pytest.mark.parametrize("dtype", ["bool", "int8", "int32", "float16", "float64"])
def test_other_dtypes_stay(dtype):
    x = np.ones((2, 1), dtype)
    assert matrix(x, "features")[0].dtype == dtype
    assert numbers(np.ones(2, jnp.bfloat16), "labels").dtype == jnp.bfloat16


def test_arrays_of_jax_pass_traced_or_not():
    x = jnp.ones((2, 3))
    assert matrix(x, "features") == (x, None)

    @jax.jit
    def total(a):
        return jnp.sum(numbers([a, 2 * a], "labels")) + jnp.sum(numbers(a, "labels"))

    assert total(1.0) == 4
