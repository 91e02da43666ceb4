"""The real function_app.py, fed what the host sends: bodies, and one metadata array for each property."""

import importlib
import json
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

from azure.functions.meta import Datum
from azure.functions.servicebus import ServiceBusMessageInConverter

from tests.build import canonical, wire

ROOT = Path(__file__).parents[2]


def trigger_input(*documents, **arrays):
    """Give what a batch of messages is on its way to the worker: the bodies, and the metadata beside them.

    A document that is no bytes is written as JSON. `arrays` replace those of the ordinary metadata, by property.
    """
    bodies = [document if isinstance(document, bytes) else wire(document) for document in documents]
    metadata = {
        "MessageId": [f"message-{number}" for number in range(len(bodies))],
        "ContentType": [None] * len(bodies),
        "EnqueuedTimeUtc": [f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}7Z"] * len(bodies),
        "ApplicationProperties": [{}] * len(bodies),
        "UserProperties": [{}] * len(bodies),
    } | arrays
    return (
        Datum(SimpleNamespace(bytes=bodies), "collection_bytes"),
        {f"{name}Array": Datum(json.dumps(values), "json") for name, values in metadata.items()},
    )


def messages(*documents, **arrays):
    """Give what the function gets, through azure-functions' own converter."""
    data, metadata = trigger_input(*documents, **arrays)
    return ServiceBusMessageInConverter.decode(data, trigger_metadata=metadata)


def fresh(*recipients, **attributes):
    """Give a canonical event that is never too old: without a time, the time of arrival counts."""
    return canonical(*recipients, **{"time": None} | attributes)


@asynccontextmanager
async def function_app():
    """Import function_app.py as nobody has done before, yield its app, and close what the function opens."""
    sys.modules.pop("function_app", None)
    module = importlib.import_module("function_app")
    try:
        yield module.app
    finally:
        await module.service.close()


@asynccontextmanager
async def process_opt_ins():
    """Import function_app.py likewise and yield the function, as the worker finds it."""
    async with function_app() as app:
        [function] = app.get_functions()
        yield function.get_user_function()
