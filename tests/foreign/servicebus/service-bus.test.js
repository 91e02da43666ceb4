/**
 * Microsoft's Service Bus client for JavaScript against servicebus_sandbox, as somebody would use it who has only read its README.
 *
 * tests/foreign/test_foreign.py starts the broker with the queues of queues.json. Every test has queues of its own.
 */

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { ServiceBusAdministrationClient, ServiceBusClient } from "@azure/service-bus";

import {
  HOST,
  KEY,
  PATIENCE,
  PORT,
  SERVICEBUS_CONNECTION_STRING,
  SERVICEBUS_LISTEN_ONLY,
  SERVICEBUS_SEND_ONLY,
  errorOf,
  sleep,
} from "./broker.js";

/** The default is to try for minutes. The delay is that of a subscriber, which never gives up. */
const ONCE = { retryOptions: { maxRetries: 0, timeoutInMs: 10_000, retryDelayInMs: 100 } };

/** The most that a message or a batch may have. */
const LARGEST = 256 * 1024;

const client = new ServiceBusClient(SERVICEBUS_CONNECTION_STRING, ONCE);
const others = [client];
after(() => Promise.all(others.map((one) => one.close())));

const clientOf = (connectionString, options = ONCE) => {
  const other = new ServiceBusClient(connectionString, options);
  others.push(other);
  return other;
};

const deadLettersOf = (queue) => client.createReceiver(queue, { subQueueType: "deadLetter" });

async function send(queue, ...messages) {
  const sender = client.createSender(queue);
  await sender.sendMessages(messages);
  await sender.close();
}

/** Receives exactly so many messages, however few come at once. */
async function receive(receiver, count = 1) {
  const found = [];
  while (found.length < count) {
    const some = await receiver.receiveMessages(count - found.length, { maxWaitTimeInMs: 10_000 });
    assert.notEqual(some.length, 0, `only ${found.length} of ${count} messages came`);
    found.push(...some);
  }
  return found;
}

const numbers = (count) => Array.from({ length: count }, (_, number) => number);

test("a message without an id gets one from the broker, and can be completed", PATIENCE, async () => {
  await send("sent", { body: "hello" });
  const receiver = client.createReceiver("sent");
  const [message] = await receive(receiver);
  await receiver.completeMessage(message);

  assert.equal(message.body, "hello");
  assert.match(message.messageId, /^[0-9a-f]{32}$/);
  assert.deepEqual(await receiver.peekMessages(1), []);
});

test("properties of every type come back as they were", PATIENCE, async () => {
  const applicationProperties = { text: "é", yes: true, none: null, whole: 7, large: 2 ** 40, half: 0.5 };
  const given = { body: { a: [1] }, messageId: "m", correlationId: "c", subject: "s", to: "t", replyTo: "r", contentType: "application/json" };
  await send("names", { ...given, applicationProperties });
  const receiver = client.createReceiver("names");
  const [message] = await receive(receiver);
  await receiver.completeMessage(message);

  assert.deepEqual(message.applicationProperties, applicationProperties);
  for (const [name, value] of Object.entries(given)) assert.deepEqual(message[name], value, name);
  assert.equal(message.deliveryCount, 0);
  assert.equal(message.timeToLive, undefined);
  assert.equal(message.state, "active");
});

test("bodies of every kind come back", PATIENCE, async () => {
  const bodies = [
    { body: Buffer.from([0, 255]), bodyType: "data" },
    { body: "text", bodyType: "value" },
    { body: 7, bodyType: "value" },
    { body: { a: 1 }, bodyType: "value" },
    { body: ["text", 7], bodyType: "sequence" },
  ];
  const sender = client.createSender("bodies");
  await sender.sendMessages(bodies);
  const receiver = client.createReceiver("bodies", { receiveMode: "receiveAndDelete" });
  const found = await receive(receiver, bodies.length);

  assert.deepEqual(
    found.map((message) => message._rawAmqpMessage.bodyType),
    bodies.map((sent) => sent.bodyType),
  );
  assert.deepEqual(
    found.map((message) => message.body),
    [Buffer.from([0, 255]), "text", 7, { a: 1 }, ["text", 7]],
  );
});

test("five hundred messages arrive in order, and a batch takes all that fits", PATIENCE, async () => {
  await send("batches", ...numbers(500).map((body) => ({ body })));
  const receiver = client.createReceiver("batches", { receiveMode: "receiveAndDelete" });
  const arrived = await receive(receiver, 500);
  const sender = client.createSender("batches");
  const batch = await sender.createMessageBatch();
  while (batch.tryAddMessage({ body: "x".repeat(5000) }));
  await sender.sendMessages(batch);

  assert.deepEqual(arrived.map((message) => message.body), numbers(500));
  assert.equal(batch.maxSizeInBytes, LARGEST);
  assert.ok(batch.sizeInBytes > LARGEST - 6000);
  assert.equal((await receive(receiver, batch.count)).length, batch.count);
});

test("what is too large is refused by name, and the sender goes on", PATIENCE, async () => {
  const sender = client.createSender("large");
  const single = await errorOf(sender.sendMessages({ body: Buffer.alloc(300_000) }));
  const array = await errorOf(sender.sendMessages(numbers(3).map(() => ({ body: Buffer.alloc(100_000) }))));
  await sender.sendMessages({ body: Buffer.alloc(250_000) });
  const [message] = await receive(client.createReceiver("large", { receiveMode: "receiveAndDelete" }));

  assert.equal(single.code, "MessageSizeExceeded");
  assert.equal(array.code, "MessageSizeExceeded");
  assert.equal(message.body.length, 250_000);
});

test("a property of 40 kB is an error worth a retry, and 210 kB of properties are too large", PATIENCE, async () => {
  const sender = client.createSender("limits");
  const one = await errorOf(sender.sendMessages({ body: "", applicationProperties: { a: "x".repeat(40_000) } }));
  const many = Object.fromEntries(numbers(7).map((number) => [`p${number}`, "x".repeat(30_000)]));
  const all = await errorOf(sender.sendMessages({ body: "", applicationProperties: many }));

  assert.match(one.message, /please retry/);
  assert.equal(one.retryable, true);
  assert.equal(all.code, "MessageSizeExceeded");
});

test("receive-and-delete leaves nothing, and fewer messages than asked for come", PATIENCE, async () => {
  await send("deleted", ...numbers(3).map((body) => ({ body })));
  const receiver = client.createReceiver("deleted", { receiveMode: "receiveAndDelete" });
  const found = await receiver.receiveMessages(10, { maxWaitTimeInMs: 500 });

  assert.deepEqual(found.map((message) => message.body), numbers(3));
  assert.deepEqual(await receiver.peekMessages(1), []);
  assert.deepEqual(await receiver.receiveMessages(1, { maxWaitTimeInMs: 100 }), []);
});

test("every abandon counts a delivery and keeps its properties, and the third makes a dead letter", PATIENCE, async () => {
  await send("abandoned", { body: "x", messageId: "poison", applicationProperties: { a: 1 } });
  const receiver = client.createReceiver("abandoned");
  const counts = [];
  for (const round of numbers(3)) {
    const [message] = await receive(receiver);
    counts.push(message.deliveryCount);
    await receiver.abandonMessage(message, { [`round${round}`]: "tried" });
  }
  const [dead] = await receive(deadLettersOf("abandoned"));

  assert.deepEqual(counts, [0, 1, 2]);
  assert.equal(dead.messageId, "poison");
  assert.equal(dead.deadLetterReason, "MaxDeliveryCountExceeded");
  assert.deepEqual(
    ["a", "round0", "round1"].map((name) => dead.applicationProperties[name]),
    [1, "tried", "tried"],
  );
});

test("a dead letter is forwarded with its reason, its source and a new number", PATIENCE, async () => {
  await send("forwarding", { body: "x", messageId: "letter" });
  const receiver = client.createReceiver("forwarding");
  const [message] = await receive(receiver);
  await receiver.deadLetterMessage(message, { deadLetterReason: "why", deadLetterErrorDescription: "how", extra: 7 });
  const forwarded = client.createReceiver("forwarded");
  const [letter] = await receive(forwarded);
  await forwarded.completeMessage(letter);

  assert.equal(letter.messageId, "letter");
  assert.equal(letter.deadLetterReason, "why");
  assert.equal(letter.deadLetterErrorDescription, "how");
  assert.equal(letter.applicationProperties.extra, 7);
  assert.equal(letter.deadLetterSource, "forwarding");
});

test("a deferred message is received by its number, once", PATIENCE, async () => {
  await send("deferred", { body: "x", messageId: "later" });
  const receiver = client.createReceiver("deferred");
  const [message] = await receive(receiver);
  await receiver.deferMessage(message, { a: "deferred" });
  const [peeked] = await receiver.peekMessages(1);
  const [deferred] = await receiver.receiveDeferredMessages([message.sequenceNumber]);
  await receiver.completeMessage(deferred);
  const again = await errorOf(receiver.receiveDeferredMessages([message.sequenceNumber]));

  assert.equal(peeked.state, "deferred");
  assert.equal(deferred.messageId, "later");
  assert.equal(deferred.applicationProperties.a, "deferred");
  assert.equal(again.code, "MessageNotFound");
});

test("schedule, peek and cancel work as the first thing a client does", PATIENCE, async () => {
  const tomorrow = new Date(Date.now() + 86_400_000);
  const sender = clientOf(SERVICEBUS_CONNECTION_STRING).createSender("scheduled");
  const [kept, cancelled] = await sender.scheduleMessages([{ body: 1 }, { body: 2 }], tomorrow);
  const peeking = clientOf(SERVICEBUS_CONNECTION_STRING).createReceiver("scheduled");
  const before = await peeking.peekMessages(10);
  await sender.cancelScheduledMessages(cancelled);
  const rest = await peeking.peekMessages(10, { fromSequenceNumber: kept });
  const twice = await errorOf(sender.cancelScheduledMessages(cancelled));

  assert.deepEqual(before.map((message) => [message.body, message.state]), [[1, "scheduled"], [2, "scheduled"]]);
  assert.deepEqual(rest.map((message) => message.body), [1]);
  assert.equal(rest[0].scheduledEnqueueTimeUtc.getTime(), tomorrow.getTime());
  assert.equal(twice.code, "MessageNotFound");
});

test("a lock is renewed, and one that is lost counts a delivery", PATIENCE, async () => {
  await send("losing-locks", { body: "x" });
  const receiver = client.createReceiver("losing-locks", { maxAutoLockRenewalDurationInMs: 0 });
  const [message] = await receive(receiver);
  const before = message.lockedUntilUtc.getTime();
  const renewed = await receiver.renewMessageLock(message);
  const [second] = await receive(receiver);
  const lost = await errorOf(receiver.completeMessage(message));
  const late = await errorOf(receiver.renewMessageLock(message));
  await receiver.completeMessage(second);

  assert.ok(renewed.getTime() > before);
  assert.equal(second.deliveryCount, 1);
  assert.equal(lost.code, "MessageLockLost");
  assert.equal(late.code, "MessageLockLost");
});

test("the client renews a lock by itself while a handler works", PATIENCE, async () => {
  await send("slow", { body: "x" });
  const receiver = client.createReceiver("slow", { maxAutoLockRenewalDurationInMs: 20_000 });
  const [message] = await receive(receiver);
  await sleep(3_000);
  await receiver.completeMessage(message);

  assert.deepEqual(await receiver.peekMessages(1), []);
});

test("a subscriber handles two hundred messages, ten at a time", PATIENCE, async () => {
  await send("subscribed", ...numbers(200).map((body) => ({ body })));
  const receiver = client.createReceiver("subscribed");
  const handled = [];
  await new Promise((done, failed) => {
    receiver.subscribe(
      {
        async processMessage(message) {
          handled.push(message.body);
          if (handled.length === 200) done();
        },
        processError: async ({ error }) => failed(error),
      },
      { maxConcurrentCalls: 10 },
    );
  });
  await receiver.close();

  assert.deepEqual(handled.toSorted((a, b) => a - b), numbers(200));
  // The last was handled before it was completed; closing waits for that.
  assert.deepEqual(await client.createReceiver("subscribed").peekMessages(1), []);
});

test("a handler that throws abandons its message, until that is a dead letter", PATIENCE, async () => {
  await send("throwing", { body: "x" });
  const receiver = client.createReceiver("throwing");
  const errors = [];
  receiver.subscribe({
    processMessage: async () => assert.fail("no"),
    processError: async ({ errorSource }) => errors.push(errorSource),
  });
  const [dead] = await receive(deadLettersOf("throwing"));
  await receiver.close();

  assert.equal(dead.deadLetterReason, "MaxDeliveryCountExceeded");
  assert.deepEqual(errors, ["processMessageCallback", "processMessageCallback", "processMessageCallback"]);
});

test("an iterator gives message after message", PATIENCE, async () => {
  await send("iterated", ...numbers(5).map((body) => ({ body })));
  const receiver = client.createReceiver("iterated");
  const found = [];
  for await (const message of receiver.getMessageIterator()) {
    found.push(message.body);
    await receiver.completeMessage(message);
    if (found.length === 5) break;
  }

  assert.deepEqual(found, numbers(5));
});

test("a second message of one id is dropped: single, in a batch and scheduled", PATIENCE, async () => {
  const sender = client.createSender("duplicates");
  await sender.sendMessages({ body: 1, messageId: "a" });
  await sender.sendMessages({ body: 2, messageId: "a" });
  await sender.sendMessages([{ body: 3, messageId: "b" }, { body: 4, messageId: "b" }]);
  await sender.scheduleMessages({ body: 5, messageId: "b" }, new Date(Date.now() + 86_400_000));
  const found = await client.createReceiver("duplicates").peekMessages(10);

  assert.deepEqual(found.map((message) => message.body), [1, 3]);
});

test("a longer time to live is cut to the queue's, and then the message is a dead letter", PATIENCE, async () => {
  await send("expiring", { body: "x", timeToLive: 3_600_000 });
  const [peeked] = await client.createReceiver("expiring").peekMessages(1);
  const [dead] = await receive(deadLettersOf("expiring"));

  assert.equal(peeked?.timeToLive ?? 1_000, 1_000);
  assert.equal(dead.deadLetterReason, "TTLExpiredException");
});

test("an unknown queue is not found, at once, whatever is asked of it", PATIENCE, async () => {
  const other = clientOf(SERVICEBUS_CONNECTION_STRING, {});
  const receiver = other.createReceiver("no-such-queue");
  const codes = await Promise.all(
    [
      other.createSender("no-such-queue").sendMessages({ body: "x" }),
      other.createSender("no-such-queue").createMessageBatch(),
      other.createSender("no-such-queue").scheduleMessages({ body: "x" }, new Date()),
      receiver.receiveMessages(1, { maxWaitTimeInMs: 20_000 }),
      receiver.peekMessages(1),
    ].map(async (call) => (await errorOf(call)).code),
  );

  assert.deepEqual(new Set(codes), new Set(["MessagingEntityNotFound"]));
});

test("a subscriber of an unknown queue hears that it is not found", PATIENCE, async () => {
  const receiver = client.createReceiver("no-such-queue");
  const error = await new Promise((done) => {
    receiver.subscribe({ processMessage: async () => {}, processError: async (told) => done(told.error) });
  });
  await receiver.close();

  assert.equal(error.code, "MessagingEntityNotFound");
});

test("a wrong key, or the name of none, is unauthorized", PATIENCE, async () => {
  const wrong = [
    SERVICEBUS_CONNECTION_STRING.replace(`SharedAccessKey=${KEY}`, "SharedAccessKey=wrong"),
    SERVICEBUS_CONNECTION_STRING.replace("SharedAccessKeyName=", "SharedAccessKeyName=other"),
  ];
  for (const connectionString of wrong) {
    const other = clientOf(connectionString);
    for (const call of [
      other.createSender("rights").sendMessages({ body: "x" }),
      other.createReceiver("rights").receiveMessages(1),
      other.createReceiver("rights").peekMessages(1),
    ]) {
      assert.equal((await errorOf(call)).code, "UnauthorizedAccess");
    }
  }
});

test("a key to send does not receive, and a key to listen does not send", PATIENCE, async () => {
  const sending = clientOf(SERVICEBUS_SEND_ONLY);
  const listening = clientOf(SERVICEBUS_LISTEN_ONLY);
  const refused = await Promise.all(
    [
      sending.createReceiver("rights").receiveMessages(1),
      sending.createReceiver("rights").peekMessages(1),
      listening.createSender("rights").sendMessages({ body: "x" }),
      listening.createSender("rights").scheduleMessages({ body: "x" }, new Date()),
    ].map(errorOf),
  );
  await sending.createSender("rights").sendMessages({ body: "x" });
  const [message] = await receive(listening.createReceiver("rights"));

  assert.deepEqual(
    refused.map((error) => error.code),
    Array(4).fill("UnauthorizedAccess"),
  );
  assert.equal(message.body, "x");
});

test("sessions are refused clearly, and the client works on and closes", PATIENCE, async () => {
  const other = clientOf(SERVICEBUS_CONNECTION_STRING);
  const named = await errorOf(other.acceptSession("nobody", "session"));
  const next = await errorOf(other.acceptNextSession("nobody"));
  await other.createSender("nobody").sendMessages({ body: "x", sessionId: "kept" });
  const [message] = await receive(other.createReceiver("nobody", { receiveMode: "receiveAndDelete" }));
  await other.close();

  // The client sees that the link has no session before it hears why not.
  assert.equal(named.code, "SessionCannotBeLocked");
  assert.match(next.message, /no sessions/);
  assert.equal(message.sessionId, "kept");
});

test("the administration client is refused at once, and the broker goes on", PATIENCE, async () => {
  const administration = new ServiceBusAdministrationClient(SERVICEBUS_CONNECTION_STRING, {
    retryOptions: { maxRetries: 0 },
  });
  await errorOf(administration.getQueue("sent"));
  const answer = await fetch(`http://${HOST}:${PORT}/sent`);

  assert.equal(answer.status, 501);
  assert.match(await answer.text(), /no administration API/);
  assert.deepEqual(await client.createReceiver("nobody").peekMessages(1), []);
});

test("AMQP over WebSocket is refused by name", PATIENCE, async () => {
  const answer = await fetch(`http://${HOST}:${PORT}/$servicebus/websocket`);

  assert.equal(answer.status, 501);
  assert.match(await answer.text(), /no AMQP over WebSocket/);
});

test("a client is closed while a receive waits", PATIENCE, async () => {
  const other = new ServiceBusClient(SERVICEBUS_CONNECTION_STRING, ONCE);
  const receiver = other.createReceiver("nobody");
  // With the link open, the receive waits at once; while it opens, closing the client is an error of its own.
  assert.deepEqual(await receiver.receiveMessages(1, { maxWaitTimeInMs: 1 }), []);
  const waiting = receiver.receiveMessages(1, { maxWaitTimeInMs: 1_000 });
  await sleep(200);
  await other.close();

  assert.deepEqual(await waiting, []);
});
