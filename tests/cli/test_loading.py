import gc

import pytest

from voltase.cli.loading import without_collection


def test_garbage_is_collected_again_afterwards_and_what_was_loaded_is_left_alone() -> None:
    before = gc.get_freeze_count()
    try:
        with without_collection():
            assert not gc.isenabled()
            loaded = [[k] for k in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(loaded)
    finally:
        gc.unfreeze()


def test_an_error_while_loading_does_not_leave_it_off() -> None:
    try:
        with pytest.raises(OSError, match="no module"), without_collection():
            raise OSError("no module")
        assert gc.isenabled()
    finally:
        gc.unfreeze()


def test_whoever_had_it_off_keeps_it_off() -> None:
    gc.disable()
    try:
        with without_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
