"""Azure on one machine: a Service Bus compatible broker, the ACS opt-out endpoint and a host for the function."""
