import pytest

# Their asserts show what they compared, as those in test modules do.
pytest.register_assert_rewrite("tests.support")
