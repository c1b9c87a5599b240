"""Inside the block libraries say nothing; afterwards all is as it was."""

from __future__ import annotations

import warnings

import pytest
from transformers.utils import logging

from tooltune.models.quiet import quiet_transformers


@pytest.mark.parametrize("category", [FutureWarning, DeprecationWarning])
def test_what_libraries_say_of_their_own_future_is_not_shown(category: type[Warning]) -> None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with quiet_transformers():
            warnings.warn("renamed in version 6", category, stacklevel=1)
        assert not shown
        warnings.warn("renamed in version 6", category, stacklevel=1)
        assert len(shown) == 1


def test_what_is_wrong_now_is_still_shown() -> None:
    with pytest.warns(UserWarning, match="broken"), quiet_transformers():
        warnings.warn("broken", UserWarning, stacklevel=1)


def test_settings_come_back_after_an_error_too() -> None:
    before = (logging.get_verbosity(), logging.is_progress_bar_enabled(), list(warnings.filters))
    with pytest.raises(ValueError, match="inside"), quiet_transformers():
        raise ValueError("inside")
    after = (logging.get_verbosity(), logging.is_progress_bar_enabled(), list(warnings.filters))
    assert after == before
