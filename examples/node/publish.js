/**
 * Publishes an opt-in and an opt-out with @azure/service-bus: `npm ci && node publish.js`.
 *
 * In the sandbox ServiceBusConnection leads to the namespace; on Azure ServiceBusConnection__fullyQualifiedNamespace names it, and
 * whoever runs this needs the role "Azure Service Bus Data Sender" on the queue.
 */

import { createHash, randomUUID } from "node:crypto";
import process from "node:process";
import { pathToFileURL } from "node:url";

import { DefaultAzureCredential } from "@azure/identity";
import { ServiceBusClient } from "@azure/service-bus";

const SOURCE = "https://shop.example/preferences";
const SENDER = "+18001234567";

/**
 * Makes the event that people opted in.
 *
 * @param {string[]} recipients Their numbers, in E.164; about 9,000 fit one event.
 * @param {Date} saidAt When they said so; in an import when each person said so, not the time of the import.
 * @param {string} reference Where the evidence is kept.
 */
export const optIn = (recipients, saidAt, reference) =>
  event("sms.opt-in.v1", saidAt, {
    ...request(recipients),
    consent: { capturedAt: saidAt.toISOString(), method: "web-form", reference },
  });

/** Makes the event that people opted out, by another way than a text to the sender. */
export const optOut = (recipients, saidAt) => event("sms.opt-out.v1", saidAt, request(recipients));

/** Makes the message of an event. */
export const message = (event) => ({
  // The object itself: the client writes a body as JSON, and text would come out as JSON in JSON.
  body: event,
  contentType: "application/cloudevents+json",
  // The broker drops a second message with the same MessageId without a word, and `id` is unique within its source only. A hash has
  // at most 128 characters and shows no number in the log of the Functions host.
  messageId: createHash("sha256").update(`${event.source}\n${event.id}`).digest("hex"),
});

/** Sends events in as few transfers as possible. */
export async function send(sender, events) {
  let batch = await sender.createMessageBatch();
  for (const each of events.map(message)) {
    if (batch.tryAddMessage(each)) continue;
    if (batch.count > 0) {
      await sender.sendMessages(batch);
      batch = await sender.createMessageBatch();
      if (batch.tryAddMessage(each)) continue;
    }
    throw new Error(`event ${each.messageId} does not fit a message: split its recipients`);
  }
  if (batch.count > 0) await sender.sendMessages(batch);
}

/** Opens the namespace that the environment names. */
export function connect() {
  const { ServiceBusConnection: connection, ServiceBusConnection__fullyQualifiedNamespace: namespace } = process.env;
  return connection ? new ServiceBusClient(connection) : new ServiceBusClient(namespace, new DefaultAzureCredential());
}

const event = (type, saidAt, data) => ({
  specversion: "1.0",
  type,
  source: SOURCE,
  // Better the key of your own record: publishing that again is then the same event.
  id: randomUUID(),
  time: saidAt.toISOString(),
  data,
});

const request = (recipients) => ({ from: SENDER, recipients: recipients.map((to) => ({ to })) });

async function main() {
  const saidAt = new Date(Date.now() - 60_000);
  const events = [optIn(["+15555555551"], saidAt, "consents/7f3a"), optOut(["+15555555552"], saidAt)];
  const client = connect();
  try {
    await send(client.createSender("opt-ins"), events);
  } finally {
    await client.close();
  }
  for (const { type, id } of events) console.log(type, id);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main();
