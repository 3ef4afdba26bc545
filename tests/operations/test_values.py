"""What people write, as operations read it."""

import pytest

from mcpauth.errors import OperationError
from mcpauth.operations.values import seconds

DAY = 86400


def test_times_are_written_as_people_do():
    assert [seconds(text) for text in ("90", "30m", "12h", "7d")] == [90, 1800, 43200, 7 * DAY]
    for text in ("", "d", "0", "-1", "1w", "1.5h", "٣h", "9" * 40):
        with pytest.raises(OperationError):
            seconds(text)
