/** What the suites share: where the broker is, and how to wait for it. */

import assert from "node:assert/strict";

export const { SERVICEBUS_CONNECTION_STRING, SERVICEBUS_LISTEN_ONLY, SERVICEBUS_SEND_ONLY } = process.env;

const parts = Object.fromEntries(
  SERVICEBUS_CONNECTION_STRING.split(";")
    .filter(Boolean)
    .map((part) => [part.slice(0, part.indexOf("=")), part.slice(part.indexOf("=") + 1)]),
);
export const { hostname: HOST, port: PORT } = new URL(parts.Endpoint.replace("sb:", "http:"));
export const KEY_NAME = parts.SharedAccessKeyName;
export const KEY = parts.SharedAccessKey;

/** A client that hangs is a failure. Much longer than anything takes, for machines that are busy. */
export const PATIENCE = { timeout: 30_000 };

/** Returns the error a call ends with. */
export async function errorOf(call) {
  try {
    await call;
  } catch (error) {
    return error;
  }
  return assert.fail("the call should have failed");
}

export const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
