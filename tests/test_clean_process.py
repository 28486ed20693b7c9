"""The processes in which tests use a saved model without this package."""

import clean_process
import pytest


def test_a_clean_process_cannot_import_this_package_and_finds_its_arguments_and_input(tmp_path):
    assert clean_process.printed_by("print(sys.argv[1:], input())", 7, "a", folder=tmp_path, given="b\n") == (
        "['7', 'a'] b\n"
    )
    for module in ("pipeline", "pipeline.errors"):
        with pytest.raises(AssertionError, match="ModuleNotFoundError"):
            clean_process.printed_by(f"import {module}", folder=tmp_path)
