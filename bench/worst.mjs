/** Inputs that were made to be slow to mask: those that an issue named, and those that `npm run fuzz -- cost` has found since (test/fuzz/corpus/cost). */
import { join } from "node:path";
import { readCorpus } from "../test/fuzz/cost/grammar.mjs";
import { root } from "./lib.mjs";

const KEY_LINE = "MIIEowIBAAKCAQEAxk3vT9qLm2Rr8WyZs5bNd1HcJfUg7Pt0aXoQeKiVhBnMz4Cu";
const BEGIN = "-----BEGIN RSA PRIVATE KEY-----";

/** `head` and then `unit`, repeated, as Latin-1; pushed in chunks of so many bytes. */
const NAMED = [
  { name: "blocks, lines", unit: `${BEGIN}\n${`${KEY_LINE}\n`.repeat(3)}`, chunk: 65_536 },
  { name: "blocks, \\n spelled", unit: `k ${BEGIN}\\n${`${KEY_LINE}\\n`.repeat(3)}...\n`, chunk: 65_536 },
  { name: "blocks, on one line", unit: "-----BEGIN PRIVATE KEY-----", chunk: 65_536 },
  { name: "blocks, lines, small chunks", unit: `${BEGIN}\n${`${KEY_LINE}\n`.repeat(3)}`, chunk: 200 },
  { name: "head of a JWT, byte by byte", unit: "eyJhbGciOiJIUzI1NiJ9.", chunk: 1 },
  { name: "spelled assignment, byte by byte", unit: "sig\\u003d\\n", chunk: 1 },
  { name: "mappings, stacked", unit: "kind: Secret\ndata:\n  a: kind: Secret\n", chunk: 65_536 },
  { name: "mappings in a string, stacked", unit: '\\"apiVersion\\":\\"v1\\",\\"data\\":{', chunk: 65_536 },
  { name: "spelled anchors", unit: "\\u003d-secret", chunk: 65_536 },
  { name: "dense hits, a line each", unit: "JWT_SECRET=s3cr3tlH2TuWVUW1 AKIAIOSFODNN7EXAMPLF glpat-aB3dE5gH7jK9mN1pQ3rS\n", chunk: 65_536 },
  { name: "dense hits, one line", unit: "password=Zq81kLmn4Tr9;", chunk: 65_536 },
  { name: "assignment without an end", unit: '_authToken="', chunk: 65_536 },
  { name: "the same with escapes, small chunks", unit: 'access_token\\\\\\"', chunk: 64 },
  { name: "head of a PuTTY key, assignments", unit: "PuTTY-User-Key-File-3: ssh-rsa\nstorePassword=:=0123456789abcdef0123456789abcdef", chunk: 65_536 },
  { name: "masks that the log asks for", unit: "::add-mask::k5g7IpFJ9Df1DLor6kId", chunk: 65_536 },
  { name: "ordinary words, byte by byte", unit: "an ordinary line of some log, nothing to see\n", chunk: 1 },
];

/** These, and what the fuzzer keeps in the corpus; in framings other than text they are left to the suite. */
export async function worstInputs() {
  const found = await readCorpus(join(root, "test/fuzz/corpus/cost"), join(root, "dist"));
  return [...NAMED, ...found.filter(({ framing }) => framing === "text").map((each) => ({ ...each, name: `found: ${each.name}` }))];
}

/** So many bytes of an input. */
export function inputOf({ head = "", unit }, bytes) {
  return Buffer.from(head + unit.repeat(Math.ceil(Math.max(0, bytes - head.length) / unit.length)), "latin1").subarray(0, bytes);
}
