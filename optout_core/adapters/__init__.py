"""What talks to the world: Service Bus, ACS, Entra ID, OpenTelemetry. Adapters do I/O and decide nothing."""
