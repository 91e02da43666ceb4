"""The function: one trigger, one call. Nothing is opened before the first message; the rest is in optout_core."""

import typing

import azure.functions as func

from optout_core.adapters.service import Service
from optout_core.adapters.trigger import WholeMessage

app = func.FunctionApp()
# A wrong setting stops the app here, before it has a trigger: messages wait.
service = Service()


@app.function_name("process_opt_ins")
@app.service_bus_queue_trigger(
    arg_name="messages",
    queue_name="%OPT_IN_QUEUE%",
    connection="ServiceBusConnection",
    cardinality=func.Cardinality.MANY,
)
# Returning completes every message and raising abandons every one. The worker cannot index list[...].
async def process_opt_ins(messages: typing.List[WholeMessage]) -> None:  # noqa: UP006
    """Settle every recipient of every message."""
    await service.process(messages)
