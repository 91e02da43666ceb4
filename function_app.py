"""The function: one trigger, one call. Nothing is opened before the first message; the rest is in optout_core."""

import typing

import azure.functions as func

from optout_core.adapters.service import Service

app = func.FunctionApp()
# A wrong setting stops the app here, before it has a trigger: messages wait.
service = Service()


@app.function_name("process_opt_ins")
@app.service_bus_queue_trigger(
    arg_name="messages",
    queue_name="%OPT_IN_QUEUE%",
    connection="ServiceBusConnection",
    cardinality=func.Cardinality.MANY,
    # The host re-serialises a batch of JSON: 1.10 would arrive as 1.1.
    data_type=func.DataType.BINARY,
)
# Returning completes every message and raising abandons every one. The worker cannot index list[...].
async def process_opt_ins(messages: typing.List[func.ServiceBusMessage]) -> None:  # noqa: UP006
    """Settle every recipient of every message."""
    await service.process(messages)
