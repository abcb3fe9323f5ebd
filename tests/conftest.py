"""The tests' own cache folder, and quiet TensorFlow."""

import os

# Before TensorFlow is imported anywhere.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """Drawn images go to a folder of this test session, never to the user's own cache."""
    folder = tmp_path_factory.mktemp("mdl_tf_home")
    os.environ["MDL_TF_HOME"] = str(folder)
    return folder


# Minutes each: begun last, one of them would be waited for alone.
LONG = (
    *("test_loss_contract", "test_shown_code", "test_smoke", "test_train", "test_cli"),
    *("test_folds", "test_metric_model"),
)


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests that are marked slow, too")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))

    def place(item):
        return LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG)

    items.sort(key=place)
