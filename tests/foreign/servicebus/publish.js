/**
 * Publishes to the queue `events` what the CloudEvents SDK makes of an opt-in and of an opt-out, in each of its modes and the ways
 * somebody would put those into a message; subject is the name of the way.
 */

import { ServiceBusClient } from "@azure/service-bus";
import { CloudEvent, HTTP, Kafka, MQTT } from "cloudevents";

import { SERVICEBUS_CONNECTION_STRING } from "./broker.js";

const event = (type, person) =>
  new CloudEvent({
    type,
    source: "https://shop.example/",
    id: `${type} of ${person}`,
    time: "2026-01-02T03:04:05.000Z",
    datacontenttype: "application/json",
    data: { from: "+18001234567", recipients: [{ to: person }], consent: { capturedAt: "2026-01-02T03:04:05Z", method: "web" } },
  });

/** Binary mode as the AMQP binding of CloudEvents has it. */
const amqp = (one, separator) => ({
  body: one.data,
  contentType: one.datacontenttype,
  applicationProperties: Object.fromEntries(
    ["specversion", "type", "source", "id", "time"].map((name) => [`cloudEvents${separator}${name}`, one[name]]),
  ),
});

const WAYS = {
  "structured, HTTP, as bytes": (one) => ({ body: Buffer.from(HTTP.structured(one).body), contentType: "application/cloudevents+json" }),
  "structured, MQTT, as an object": (one) => ({ body: MQTT.structured(one).body }),
  "structured, as an object": (one) => ({ body: one.toJSON() }),
  "structured, as text in a value": (one) => ({ body: one.toString(), bodyType: "value" }),
  "binary, cloudEvents:": (one) => amqp(one, ":"),
  "binary, cloudEvents_": (one) => amqp(one, "_"),
  "structured, HTTP, as text": (one) => ({ body: HTTP.structured(one).body }),
  "binary, HTTP headers": (one) => ({ body: one.data, applicationProperties: HTTP.binary(one).headers }),
  "binary, Kafka headers": (one) => ({ body: one.data, applicationProperties: Kafka.binary(one).headers }),
};

const client = new ServiceBusClient(SERVICEBUS_CONNECTION_STRING);
const sender = client.createSender("events");
for (const [subject, way] of Object.entries(WAYS)) {
  for (const [type, person] of [["sms.opt-in.v1", "+15555550001"], ["sms.opt-out.v1", "+15555550002"]]) {
    // The client takes what has a bodyType for a message of AMQP, which has its subject elsewhere.
    await sender.sendMessages({ subject, properties: { subject }, ...way(event(type, person)) });
  }
}
await client.close();
