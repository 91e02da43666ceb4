/**
 * Microsoft's SMS client for JavaScript against the sandbox's endpoint, as somebody would use it who has only read its README.
 *
 * tests/foreign/test_foreign.py starts the endpoint and sets ACS_CONNECTION_STRING, ACS_ENDPOINT, ACS_TLS_ENDPOINT and ACS_TOKEN.
 */

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { SmsClient } from "@azure/communication-sms";

const { ACS_CONNECTION_STRING, ACS_ENDPOINT, ACS_TLS_ENDPOINT, ACS_TOKEN } = process.env;
const SENDER = "+18001234567";
const SHORT_CODE = "12345";
const PERSON = "+15555555551";
const ANOTHER = "+15555555552";

/** What loopback needs: without TLS, the client sends only where it is allowed to. */
const PLAIN = { allowInsecureConnection: true };

const client = new SmsClient(ACS_CONNECTION_STRING, PLAIN);

/** Makes the endpoint misbehave; without arguments, behave again. */
async function provoke(...faults) {
  const answered = await fetch(`${ACS_ENDPOINT}/sandbox/faults`, { method: "PUT", body: JSON.stringify(faults) });
  assert.equal(answered.status, 200, await answered.text());
}

/** Returns the error a call ends with. */
async function errorOf(call) {
  try {
    await call;
  } catch (error) {
    return error;
  }
  return assert.fail("the call should have failed");
}

/** Sends every request with another api-version, before it is signed. */
function withVersion(version) {
  const policy = {
    name: "other version",
    sendRequest(request, next) {
      const url = new URL(request.url);
      if (version === undefined) url.searchParams.delete("api-version");
      else url.searchParams.set("api-version", version);
      request.url = url.toString();
      return next(request);
    },
  };
  return new SmsClient(ACS_CONNECTION_STRING, { ...PLAIN, additionalPolicies: [{ policy, position: "perCall" }] });
}

const tokenOf = (token) => ({ getToken: async () => ({ token, expiresOnTimestamp: Date.now() + 3_600_000 }) });

afterEach(async () => {
  await provoke();
  await client.optOuts.remove(SENDER, [PERSON, ANOTHER]);
});

test("add, check, remove and check, signed with the key of a connection string", async () => {
  const added = await client.optOuts.add(SENDER, [PERSON]);
  const listed = await client.optOuts.check(SENDER, [PERSON, ANOTHER]);
  const removed = await client.optOuts.remove(SENDER, [PERSON]);
  const [left] = await client.optOuts.check(SENDER, [PERSON]);

  assert.deepEqual(added, [{ to: PERSON, httpStatusCode: 200, errorMessage: "" }]);
  assert.deepEqual(removed, added);
  assert.deepEqual(listed.map((one) => one.isOptedOut), [true, false]);
  assert.equal(left.isOptedOut, false);
});

test("an entry belongs to its sender, which may be a short code", async () => {
  await client.optOuts.add(SENDER, [PERSON]);

  const [entry] = await client.optOuts.check(SHORT_CODE, [PERSON]);

  assert.equal(entry.isOptedOut, false);
});

test("a connection string may end its endpoint with a slash, and name its parts in any case", async () => {
  const spelled = ACS_CONNECTION_STRING.replace(/endpoint=([^;]+)/, "Endpoint=$1/").replace("accesskey", "AccessKey");

  assert.equal((await new SmsClient(spelled, PLAIN).optOuts.remove(SENDER, [PERSON]))[0].httpStatusCode, 200);
});

test("one hundred recipients are the most", async () => {
  const people = Array.from({ length: 101 }, (_, index) => `+1555555${String(index).padStart(4, "0")}`);

  const items = await client.optOuts.remove(SENDER, people.slice(0, 100));
  const error = await errorOf(client.optOuts.remove(SENDER, people));
  const nobody = await errorOf(client.optOuts.remove(SENDER, []));

  assert.deepEqual(items.map((item) => item.to), people.slice(0, 100));
  assert.equal(error.statusCode, 400);
  assert.equal(nobody.statusCode, 400);
});

test("a repeated recipient is answered as often", async () => {
  assert.equal((await client.optOuts.remove(SENDER, [PERSON, PERSON])).length, 2);
});

test("a failure of one recipient is no error of the call", async () => {
  await provoke({ to: ANOTHER, items: [{ httpStatusCode: 500, errorMessage: "Internal Server Error" }] });

  const items = await client.optOuts.remove(SENDER, [PERSON, "+123", ANOTHER]);

  assert.deepEqual(items, [
    { to: PERSON, httpStatusCode: 200, errorMessage: "" },
    { to: "+123", httpStatusCode: 400, errorMessage: "Invalid recipient phone number format" },
    { to: ANOTHER, httpStatusCode: 500, errorMessage: "Internal Server Error" },
  ]);
});

test("a check that failed reads as not opted out in this client, so its status has to be looked at", async () => {
  await client.optOuts.add(SENDER, [PERSON]);
  await provoke({ to: PERSON, items: [{ httpStatusCode: 500, errorMessage: "Internal Server Error" }] });

  const [entry] = await client.optOuts.check(SENDER, [PERSON]);

  assert.deepEqual([entry.isOptedOut, entry.httpStatusCode], [false, 500]);
});

test("the recorded number that ACS refuses fails the whole call and is not named", async () => {
  const error = await errorOf(client.optOuts.remove(SENDER, [PERSON, "+15550000000"]));

  assert.deepEqual([error.statusCode, error.code], [400, "InvalidInput"]);
  assert.ok(!error.message.includes("+15550000000"));
});

for (const sender of ["", "!", "+123", "Contoso Incorporated", "Ćontoso"]) {
  test(`the sender ${JSON.stringify(sender)} is refused`, async () => {
    assert.equal((await errorOf(client.optOuts.remove(sender, [PERSON]))).statusCode, 400);
  });
}

test("a sender that is not ours is unauthorized, whose empty message makes this client give no code", async () => {
  const error = await errorOf(client.optOuts.remove("+18772125291", [PERSON]));

  assert.deepEqual([error.statusCode, error.code], [401, undefined]);
  assert.deepEqual(JSON.parse(error.response.bodyAsText), { error: { code: "Unauthorized", message: "" } });
});

test("another key is denied and changes nothing", async () => {
  const stranger = new SmsClient(ACS_ENDPOINT, { key: "cGFzc3dvcmQ=" }, PLAIN);

  const error = await errorOf(stranger.optOuts.add(SENDER, [PERSON]));
  const [entry] = await client.optOuts.check(SENDER, [PERSON]);

  assert.deepEqual([error.statusCode, error.code], [401, "Denied"]);
  assert.equal(entry.isOptedOut, false);
});

for (const version of ["2024-12-10-preview", "2025-05-29-preview", "2025-08-01-preview", "2025-09-17", "2026-01-23"]) {
  test(`the version ${version} is served`, async () => {
    assert.equal((await withVersion(version).optOuts.remove(SENDER, [PERSON]))[0].httpStatusCode, 200);
  });
}

for (const [version, code] of [["2021-03-07", "InvalidApiVersion"], [undefined, "ApiVersionUnspecified"]]) {
  test(`the version ${version} is refused with ${code}`, async () => {
    const error = await errorOf(withVersion(version).optOuts.remove(SENDER, [PERSON]));

    assert.deepEqual([error.statusCode, error.code], [400, code]);
  });
}

test("a token of Entra ID is accepted over TLS, and another is denied", async () => {
  const [item] = await new SmsClient(ACS_TLS_ENDPOINT, tokenOf(ACS_TOKEN)).optOuts.remove(SENDER, [PERSON]);
  const error = await errorOf(new SmsClient(ACS_TLS_ENDPOINT, tokenOf("another")).optOuts.remove(SENDER, [PERSON]));

  assert.equal(item.httpStatusCode, 200);
  assert.deepEqual([error.statusCode, error.code], [401, "Denied"]);
});

test("a refusal that heals is tried again, signed anew", async () => {
  await provoke({ status: 503, times: 1, retryAfter: 0 }, { status: 429, times: 1, retryAfter: 1 });

  assert.equal((await client.optOuts.add(SENDER, [PERSON]))[0].httpStatusCode, 200);
});

test("an edge's page is an error of the call", async () => {
  await provoke({ status: 403, body: "html" });

  assert.equal((await errorOf(client.optOuts.remove(SENDER, [PERSON]))).statusCode, 403);
});

test("a compressed answer is read", async () => {
  await provoke({ body: "gzip" });

  assert.equal((await client.optOuts.remove(SENDER, [PERSON]))[0].httpStatusCode, 200);
});

test("a person who texts STOP is on the list, and off it after START", async () => {
  const listed = [];
  for (const message of ["STOP", "START"]) {
    await fetch(`${ACS_ENDPOINT}/sandbox/texts`, {
      method: "POST",
      body: JSON.stringify({ from: PERSON, to: SENDER, message }),
    });
    listed.push((await client.optOuts.check(SENDER, [PERSON]))[0].isOptedOut);
  }

  assert.deepEqual(listed, [true, false]);
});
