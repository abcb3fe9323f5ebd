"""The lanes of the tests, their own cache folder, and quiet TensorFlow."""

import os

# Before TensorFlow is imported anywhere.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import pytest

# Mark: the option with which its tests run, too.
LANES = {"slow": "--slow", "longest": "--all"}
# Minutes each: begun last, one of them would be waited for alone.
LONG = (
    *("test_notebooks", "test_shown_code", "test_loss_contract", "test_train", "test_start"),
    *("test_compare", "test_folds", "test_smoke", "test_cli", "test_phases", "test_metric_model"),
)


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also the tests that take minutes")
    parser.addoption("--all", action="store_true", help="also those that take longest")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    # A file stays together, since its fixtures are expensive; and in the order of `LONG`.
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist, config.option.loadscopereorder = "loadfile", False


def pytest_collection_modifyitems(config, items):
    def place(item):
        return LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG)

    items.sort(key=place)
    everything = config.getoption("--all")
    closed = {
        mark for mark, option in LANES.items() if not (everything or config.getoption(option))
    }
    left_out = [item for item in items if closed & {mark.name for mark in item.iter_markers()}]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """Drawn images go to a folder of this test session, never to the user's own cache."""
    folder = tmp_path_factory.mktemp("mdl_tf_home")
    os.environ["MDL_TF_HOME"] = str(folder)
    return folder
