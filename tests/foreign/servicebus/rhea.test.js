/** A plain AMQP 1.0 client against servicebus_sandbox: whatever it may say frame by frame, beyond what Service Bus' own clients do. */

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { afterEach, test } from "node:test";

import rhea from "rhea";

import { HOST, KEY, KEY_NAME, PATIENCE, PORT, SERVICEBUS_SEND_ONLY, sleep } from "./broker.js";

const { message: outcomes, types } = rhea;
const PLAIN = { username: KEY_NAME, password: KEY };

const [ERROR, REJECTED, MODIFIED, TRANSACTIONAL, COORDINATOR] = [0x1d, 0x25, 0x27, 0x34, 0x30];

/** Returns what an emitter says next of one of some events; other errors of the peer fail the test. */
function next(emitter, ...events) {
  return new Promise((done) => {
    for (const event of events) emitter.once(event, (context) => done({ event, ...context }));
  });
}

const open = [];
afterEach(async () => {
  for (const connection of open.splice(0)) {
    if (connection.is_closed()) continue;
    connection.close();
    await next(connection, "connection_close", "disconnected");
  }
});

/** Connects with SASL PLAIN, the name of a key and the key. */
async function connect(options = PLAIN) {
  const connection = rhea.create_container().connect({ host: HOST, port: PORT, reconnect: false, ...options });
  open.push(connection);
  // The test that runs fails for it.
  connection.on("connection_error", ({ connection: { error } }) => assert.fail(`${error?.condition}: ${error?.description}`));
  await next(connection, "connection_open");
  return connection;
}

async function senderOf(connection, target, options = {}) {
  const sender = connection.open_sender({ target, ...options });
  await next(sender, "sendable");
  return sender;
}

async function receiverOf(connection, source, options = {}) {
  const receiver = connection.open_receiver({ source, autoaccept: false, credit_window: 0, ...options });
  await next(receiver, "receiver_open");
  return receiver;
}

/** Sends a message; returns "accepted", or the error of its rejection. */
async function send(sender, message, ...more) {
  sender.send(message, ...more);
  const { delivery } = await next(sender, "settled");
  return delivery.remote_state.error ?? "accepted";
}

/** Receives the next message. */
async function receive(receiver) {
  const arrival = next(receiver, "message");
  receiver.add_credit(1);
  return arrival;
}

/** Returns the outcome of a code with exactly these fields, none more. */
const described = (code, ...fields) => types.described_nc(types.wrap_ulong(code), types.wrap_list(fields));

const deadLetters = (queue) => `${queue}/$DeadLetterQueue`;

/** Attaches a link that must be refused; returns why. */
async function refusal(connection, open_link, options, coordinator) {
  const link = connection[open_link](options);
  // rhea knows no coordinator; the frame is not written yet.
  if (coordinator) link.local.attach.target = coordinator;
  const { event } = await next(link, "receiver_error", "sender_error", "receiver_close", "sender_close");
  assert.match(event, /_error$/, "the link was closed without a reason");
  return link.error;
}

test("whatever its fields say, modified counts a delivery, and only undeliverable-here defers", PATIENCE, async () => {
  const connection = await connect();
  const sender = await senderOf(connection, "modified");
  const receiver = await receiverOf(connection, "modified");
  const [none, yes, no] = [null, true, false];
  const annotations = types.wrap_symbolic_map({ changed: "yes" });
  const counts = [];
  const changed = [];
  for (const failed of [none, yes, no]) {
    for (const elsewhere of [none, no]) {
      for (const fields of [[], [failed], [failed, elsewhere], [failed, elsewhere, annotations]]) {
        assert.equal(await send(sender, { message_id: "m", body: "x" }), "accepted");
        const first = await receive(receiver);
        first.delivery.update(true, described(MODIFIED, ...fields));
        const second = await receive(receiver);
        second.delivery.accept();
        counts.push([first.message.delivery_count ?? 0, second.message.delivery_count]);
        changed.push(second.message.application_properties?.changed);
      }
    }
  }
  await send(sender, { message_id: "elsewhere", body: "x" });
  (await receive(receiver)).delivery.update(true, described(MODIFIED, none, yes));
  await send(sender, { message_id: "behind", body: "x" });
  const behind = await receive(receiver);
  behind.delivery.accept();

  assert.deepEqual(counts, Array(24).fill([0, 1]));
  assert.deepEqual(changed.filter(Boolean), Array(6).fill("yes"));
  assert.equal(behind.message.message_id, "behind");
});

test("a rejected message is a dead letter, however much of an error comes with it", PATIENCE, async () => {
  const connection = await connect();
  const sender = await senderOf(connection, "rejected");
  const receiver = await receiverOf(connection, "rejected");
  const dead = await receiverOf(connection, deadLetters("rejected"));
  const error = (...fields) => described(ERROR, ...fields);
  const condition = types.wrap_symbol("app:bad");
  const info = types.wrap_map({ DeadLetterReason: "why", DeadLetterErrorDescription: "how", extra: 7 });
  const reasons = [];
  for (const fields of [[], [null], [error()], [error(condition)], [error(condition, "no")], [error(condition, "no", info)]]) {
    await send(sender, { body: "x" });
    (await receive(receiver)).delivery.update(true, described(REJECTED, ...fields));
    const letter = await receive(dead);
    letter.delivery.accept();
    reasons.push(letter.message.application_properties ?? {});
  }

  assert.equal(reasons.length, 6);
  assert.deepEqual(reasons.at(-1), { DeadLetterReason: "why", DeadLetterErrorDescription: "how", extra: 7 });
});

test("a released message comes again uncounted, and one that is settled without an outcome, too", PATIENCE, async () => {
  const connection = await connect();
  const receiver = await receiverOf(connection, "released");
  await send(await senderOf(connection, "released"), { body: "x" });
  const counts = [];
  for (const state of [outcomes.released().described(), undefined]) {
    const { delivery, message } = await receive(receiver);
    counts.push(message.delivery_count ?? 0);
    delivery.update(true, state);
  }
  const last = await receive(receiver);
  last.delivery.accept();

  assert.deepEqual([...counts, last.message.delivery_count ?? 0], [0, 0, 0]);
});

test("an outcome that makes no sense is answered, and the connection lives on", PATIENCE, async () => {
  const connection = await connect();
  const receiver = await receiverOf(connection, "undecided");
  await send(await senderOf(connection, "undecided"), { body: "x" });
  const { delivery } = await receive(receiver);
  delivery.update(false, described(TRANSACTIONAL, Buffer.from("transaction"), null));
  const answer = await next(receiver, "settled");

  assert.equal(answer.delivery.remote_state.error.condition, "amqp:not-implemented");
  assert.equal(await send(await senderOf(connection, "undecided"), { body: "y" }), "accepted");
});

test("a drained receiver hears that it is drained", PATIENCE, async () => {
  const connection = await connect();
  const receiver = await receiverOf(connection, "presettled");
  const drained = next(receiver, "receiver_drained");
  receiver.add_credit(10);
  receiver.drain_credit();
  await drained;

  assert.equal(receiver.credit, 0);
});

test("described values come back, as properties and as body", PATIENCE, async () => {
  const connection = await connect();
  const sender = await senderOf(connection, "described");
  const receiver = await receiverOf(connection, "described", { snd_settle_mode: 1 });
  const uri = () => types.described_nc(types.wrap_symbol("com.microsoft:uri"), types.wrap_string("sandbox:here"));
  assert.equal(await send(sender, { body: uri(), application_properties: { where: uri() } }), "accepted");
  const { message } = await receive(receiver);

  assert.equal(message.body, "sandbox:here");
  const { value, descriptor } = message.application_properties.where;
  assert.deepEqual([value, descriptor.value], ["sandbox:here", "com.microsoft:uri"]);
});

test("delivery annotations are kept, and the lock's own are added", PATIENCE, async () => {
  const connection = await connect();
  const sender = await senderOf(connection, "described");
  const receiver = await receiverOf(connection, "described");
  await send(sender, { body: "x", delivery_annotations: { mine: "kept" }, message_annotations: { "x-opt-mine": 7 } });
  const { message, delivery } = await receive(receiver);
  delivery.accept();

  assert.equal(message.delivery_annotations.mine, "kept");
  assert.ok(message.delivery_annotations["x-opt-lock-token"]);
  assert.equal(message.message_annotations["x-opt-mine"], 7);
  assert.ok(message.message_annotations["x-opt-locked-until"]);
});

test("a message goes in and out in frames of 512 bytes", PATIENCE, async () => {
  const connection = await connect({ ...PLAIN, max_frame_size: 512 });
  const body = "0123456789".repeat(20_000);
  await send(await senderOf(connection, "large"), { body });
  const { message, delivery } = await receive(await receiverOf(connection, "large"));
  delivery.accept();

  assert.equal(message.body, body);
});

test("one that is too large is rejected, and the link goes on", PATIENCE, async () => {
  const connection = await connect();
  const sender = await senderOf(connection, "nobody");
  const error = await send(sender, { body: "x".repeat(300_000) });

  assert.equal(error.condition, "amqp:link:message-size-exceeded");
  assert.match(error.description, /300,0|262,144/);
  assert.equal(await send(sender, { body: "x", ttl: 1 }), "accepted");
});

test("what AMQP forbids and ids that are too long are rejected", PATIENCE, async () => {
  const connection = await connect();
  const sender = await senderOf(connection, "limits");
  const odd = [
    { body: "x", application_properties: { list: types.wrap_list([1]) } },
    { body: "x", application_properties: { map: types.wrap_map({ a: 1 }) } },
    { body: "x", message_id: "x".repeat(129) },
  ];
  const errors = [];
  for (const message of odd) errors.push((await send(sender, message)).condition);

  assert.deepEqual(errors, Array(3).fill("com.microsoft:argument-error"));
  assert.equal((await send(sender, Buffer.from("no message"), undefined, 0)).condition, "com.microsoft:argument-error");
  assert.equal(await send(sender, { body: "x", message_id: "x".repeat(128) }), "accepted");
});

test("presettled messages get in, and a presettled receiver takes them away", PATIENCE, async () => {
  const connection = await connect();
  const sender = await senderOf(connection, "presettled", { snd_settle_mode: 1 });
  for (const body of [1, 2, 3]) sender.send({ body });
  const receiver = await receiverOf(connection, "presettled", { snd_settle_mode: 1 });
  const bodies = [];
  while (bodies.length < 3) bodies.push((await receive(receiver)).message.body);
  const peeking = await receiverOf(connection, "presettled");
  const drained = next(peeking, "receiver_drained", "message");
  peeking.add_credit(1);
  peeking.drain_credit();

  assert.deepEqual(bodies, [1, 2, 3]);
  assert.equal((await drained).event, "receiver_drained");
});

test("two sessions have links of the same names, and a link is attached again", PATIENCE, async () => {
  const connection = await connect();
  const senders = [];
  for (const session of [connection.create_session(), connection.create_session()]) {
    session.open();
    const sender = session.open_sender({ target: "names", name: "the same" });
    await next(sender, "sendable");
    senders.push(sender);
  }
  assert.deepEqual(await Promise.all(senders.map((sender) => send(sender, { body: "x", ttl: 1 }))), ["accepted", "accepted"]);
  senders[0].detach();
  await next(senders[0], "sender_close", "sender_detached");
  const again = await senderOf(connection, "names", { name: "the same" });

  assert.equal(await send(again, { body: "x", ttl: 1 }), "accepted");
  assert.equal(await send(senders[1], { body: "x", ttl: 1 }), "accepted");
});

test("a connection that only the heartbeats keep alive lives", PATIENCE, async () => {
  const connection = await connect({ ...PLAIN, idle_time_out: 500 });
  await sleep(1_500);

  assert.equal(await send(await senderOf(connection, "nobody"), { body: "x", ttl: 1 }), "accepted");
});

test("a deferred message is asked for at $management, and settled there", PATIENCE, async () => {
  const connection = await connect();
  await send(await senderOf(connection, "deferred-by-rhea"), { body: "x" });
  const receiver = await receiverOf(connection, "deferred-by-rhea");
  const { delivery, message } = await receive(receiver);
  delivery.update(true, described(MODIFIED, null, true));
  const number = message.message_annotations["x-opt-sequence-number"];
  const requests = await senderOf(connection, "deferred-by-rhea/$management");
  const replies = await receiverOf(connection, "deferred-by-rhea/$management", { target: "me", autoaccept: true });
  const ask = async (operation, body) => {
    const reply = receive(replies);
    requests.send({ message_id: operation, reply_to: "me", application_properties: { operation: `com.microsoft:${operation}` }, body });
    return (await reply).message;
  };
  const received = await ask("receive-by-sequence-number", {
    "sequence-numbers": types.wrap_array([number], 0x81),
    "receiver-settle-mode": types.wrap_uint(1),
  });
  const token = received.body.messages?.[0]?.["lock-token"];
  const settled = await ask("update-disposition", { "disposition-status": "completed", "lock-tokens": types.wrap_array([token], 0x98) });
  const gone = await ask("receive-by-sequence-number", {
    "sequence-numbers": types.wrap_array([number], 0x81),
    "receiver-settle-mode": types.wrap_uint(1),
  });
  const unknown = await ask("no-such-operation", {});

  assert.deepEqual(
    [received, settled, gone, unknown].map(({ application_properties }) => application_properties.statusCode),
    [200, 200, 404, 501],
  );
  assert.equal(gone.correlation_id, "receive-by-sequence-number");
});

test("transactions and sessions are refused with the reason", PATIENCE, async () => {
  const connection = await connect();
  const transactions = await refusal(connection, "open_sender", {}, described(COORDINATOR));
  const sessions = await refusal(connection, "open_receiver", {
    source: { address: "nobody", filter: { "com.microsoft:session-filter": "session" } },
  });

  assert.equal(transactions.condition, "amqp:not-implemented");
  assert.match(transactions.description, /no transactions/);
  assert.equal(sessions.condition, "amqp:not-allowed");
  assert.match(sessions.description, /no sessions/);
  assert.equal(await send(await senderOf(connection, "nobody"), { body: "x", ttl: 1 }), "accepted");
});

test("an unknown queue is refused as not found, to send and to receive", PATIENCE, async () => {
  const connection = await connect();
  const conditions = [
    await refusal(connection, "open_sender", { target: "no-such-queue" }),
    await refusal(connection, "open_receiver", { source: "no-such-queue" }),
    await refusal(connection, "open_receiver", { source: "no-such-queue/$management" }),
  ].map((error) => error.condition);

  assert.deepEqual(conditions, Array(3).fill("amqp:not-found"));
});

test("SASL PLAIN with a wrong key ends the connection", PATIENCE, async () => {
  const connection = rhea.create_container().connect({ host: HOST, port: PORT, reconnect: false, username: KEY_NAME, password: "wrong" });
  const { event, error } = await next(connection, "connection_error", "connection_open");

  assert.equal(event, "connection_error");
  assert.match(String(error ?? connection.error), /authenticate|auth/i);
});

test("SASL PLAIN gives what its key may do, no more", PATIENCE, async () => {
  const [, name, key] = SERVICEBUS_SEND_ONLY.match(/SharedAccessKeyName=([^;]+);SharedAccessKey=([^;]+)/);
  const connection = await connect({ username: name, password: key });
  const error = await refusal(connection, "open_receiver", { source: "nobody" });

  assert.equal(error.condition, "amqp:unauthorized-access");
  assert.equal(await send(await senderOf(connection, "nobody"), { body: "x", ttl: 1 }), "accepted");
});

test("a token is shown to $cbs, and without one nothing is allowed", PATIENCE, async () => {
  const connection = await connect({ username: "anonymous" });
  const before = await refusal(connection, "open_sender", { target: "nobody" });
  const requests = await senderOf(connection, "$cbs");
  const replies = await receiverOf(connection, "$cbs", { target: "cbs", autoaccept: true });
  const put = async (path) => {
    const audience = `sb://${HOST}:${PORT}/${path}`;
    const reply = receive(replies);
    const application_properties = { operation: "put-token", type: "servicebus.windows.net:sastoken", name: audience };
    requests.send({ message_id: path, reply_to: "cbs", application_properties, body: tokenFor(audience) });
    return (await reply).message.application_properties["status-code"];
  };

  assert.equal(before.condition, "amqp:unauthorized-access");
  assert.equal(await put("nobody"), 202);
  assert.equal(await put("no-such-queue"), 404);
  assert.equal(await send(await senderOf(connection, "nobody"), { body: "x", ttl: 1 }), "accepted");
});

/** Signs a shared access signature, valid for a minute. */
function tokenFor(audience) {
  const [resource, expiry] = [encodeURIComponent(audience), Math.floor(Date.now() / 1000) + 60];
  const signature = createHmac("sha256", KEY).update(`${resource}\n${expiry}`).digest("base64");
  return `SharedAccessSignature sr=${resource}&sig=${encodeURIComponent(signature)}&se=${expiry}&skn=${KEY_NAME}`;
}
