/** Secrets in strings of JSON and of source code: found whatever the chunks, to the last byte, and what holds them stays JSON. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createEngine } from "../../src/index.js";
import { cook } from "../../src/rules/recipes.js";
import { readSpelled } from "../../src/rules/spelled.js";
import { StreamText } from "../../src/rules/text.js";
import { ENGINES } from "../support/engines.js";

const body = (index: number, length = 64): string => cook(`{b64:${length}}`, `body ${index}`).text;
const KEY_LINES = [body(1), body(2), body(3), "1LuJhXUELN=="];
const KEY = ["-----BEGIN RSA PRIVATE KEY-----", ...KEY_LINES, "-----END RSA PRIVATE KEY-----"];
/** A line of a container's log. */
const record = (line: string, fields: number): string =>
  JSON.stringify({ log: `${line}\n`, stream: "stdout", labels: Object.fromEntries(Array.from({ length: fields }, (_, i) => [`name${i}`, `value ${i}`])) });
const escaped = (text: string): string => [...text].map((char) => `\\u00${char.charCodeAt(0).toString(16)}`).join("");

/** Texts that once came out in another way when they were cut. */
const CUT = [
  "PASSWORD=\\u001b[1;31mTr0ub4dor&3xyz\\u001b[0m\n",
  "PASSWORD=\\e[0;1mTr0ub4dor&3xyz ok\n",
  `Crumb\\u003a ${cook("{hex:32}", "crumb").text}"k`,
  `Unseal Key\\u003a${cook("{b64:44}", "unseal").text}\n`,
  `PrivateKey\\u003d ${cook("{b64:43}", "key").text}\\u003d\n`,
  'LoginModule user_i\\u003d\\u0022SR2d";',
  `default password for the user \\\\\\"x\\\\\\" is \\\\\\"${cook("{b62:8}", "prose").text}\\\\\\".\n`,
  `{"a":${" ".repeat(600)}"::add-mask::${cook("{b62:20}", "mask").text}","b":"c d"}\n`,
  `{"a":${"\\".repeat(600)}"::add-mask::${cook("{b62:20}", "mask").text}","b":"c d"}\n`,
  `xx LoginModule\\u001b[0m${"\\u001b".repeat(31)}${"a".repeat(340)} user_ci=\\"wSKgMbI2YfWR2d\\";\n`,
  `-----BEGIN ${escaped("OPENSSH PRIVATE KEY-----")}\\n${body(9)}\\n-----END`,
  "PASSWORD=k3(J9;d{L:q)X8!z@W2#m$N5%p^R7&t*V1<b>C4?f[G6]h|Y0~s;Qw,aEZ9;DatabaseServerName1=tcp\n",
  "password=\\=kind: Secret",
  `"apiVersion": "v1",\n"data": {\n  "x": "${body(3, 16)}"\n`,
];

describe.each(ENGINES)("$engine", ({ engine: name }) => {
  const engine = createEngine({ engine: name, rules: { minConfidence: "low", learn: false } });
  const redact = (pieces: readonly string[]): string => {
    const stream = engine.stream();
    const out = pieces.flatMap((piece) => stream.push(Buffer.from(piece, "latin1")).map((each) => Buffer.from(each)));
    return Buffer.concat([...out, ...stream.end()]).toString("latin1");
  };

  test.each([0, 3, 9, 15])("a key of which each line is a record with %i fields more", (fields) => {
    const log = `${KEY.map((line) => record(line, fields)).join("\n")}\n${record("done", fields)}\n`;
    const output = redact([log]);
    for (const line of KEY_LINES) expect(output).not.toContain(line.slice(0, 8));
    const records = output.trim().split("\n");
    expect(records.length).toBe(KEY.length + 1);
    for (const each of records) expect(() => JSON.parse(each) as unknown).not.toThrow();
    expect(records.at(-1)).toBe(record("done", fields));
    expect(redact([...log])).toBe(output);
  });

  test.each([
    ["one string", JSON.stringify({ key: `${KEY.join("\n")}\n`, next: "left" })],
    ["one string with CR and LF", JSON.stringify({ key: `${KEY.join("\r\n")}\r\n`, next: "left" })],
    ["an array of lines", JSON.stringify({ key: KEY.map((line) => `${line}\n`), next: "left" })],
  ])("a key in %s", (_, text) => {
    const output = redact([text]);
    for (const line of KEY_LINES) expect(output).not.toContain(line.slice(0, 8));
    expect((JSON.parse(output) as { next: string }).next).toBe("left");
    expect(redact([...text])).toBe(output);
  });

  test("the quotes of a string in a string stay", () => {
    const text = JSON.stringify({ a: JSON.stringify({ run: `signtool.exe sign /fd SHA256 /f "c.pfx" /p "${body(5, 14)}" app.exe` }), b: "c d" });
    const output = JSON.parse(redact([text])) as { a: string; b: string };
    expect(output.b).toBe("c d");
    expect((JSON.parse(output.a) as { run: string }).run).toBe('signtool.exe sign /fd SHA256 /f "c.pfx" /p "[REDACTED:signtool-password]" app.exe');
  });

  test.each(CUT)("the same however it is cut: %j", (text) => {
    const whole = redact([text]);
    expect(redact([...text])).toBe(whole);
    for (let cut = 1; cut < text.length; cut += text.length > 300 ? 7 : 1) expect(redact([text.slice(0, cut), text.slice(cut)])).toBe(whole);
  });

  test("a value of YAML may end with a comma", () => {
    expect(redact(["kind: Secret\nstringData:\n  a: hello-42,\n"])).toBe("kind: Secret\nstringData:\n  a: [REDACTED:kubernetes-secret-value]\n");
  });

  test("random strings come out the same however they are cut", { timeout: 60_000 }, () => {
    const token = cook("{b62:32}", "token").text;
    const piece = fc.constantFrom(
      "\\",
      "\\\\",
      '\\"',
      '"',
      '":"',
      "\\n",
      "\\u001b[32m",
      "\\u00",
      "\n",
      " ",
      ":",
      "=",
      "password",
      "token",
      "HCLOUD_TOKEN",
      "curl -u a:",
      token,
      "kind: Secret",
      "data:",
      "x1",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 24 }), fc.integer({ min: 1, max: 9 }), (pieces, size) => {
        const text = pieces.join("");
        expect(redact(text.match(new RegExp(`[\\s\\S]{1,${size}}`, "g")) ?? [])).toBe(redact([text]));
      }),
      { numRuns: 1500 },
    );
  });
});

test("what a string spells, and where", () => {
  const text = new StreamText();
  const spelledOut = 'a\\"b\\\\c\\n\\u001b[1m\\x41\\033d\\q"e';
  text.push(Buffer.from(spelledOut));
  text.ended = true;
  const spelled = readSpelled(text, 0, 0, spelledOut.length, 0)!;
  expect(spelled.text.latin1(0, spelled.text.total)).toBe('a"b\\c\n\x1b[1mA\x1bd\\q');
  expect(spelled.endsAtQuote).toBe(true);
  expect([0, 1, 2, 5, 6].map((index) => spelled.placeOf(index))).toEqual([0, 1, 3, 7, 9]);
  expect([0, 1, 2, 3, 9].map((place) => spelled.indexOf(place))).toEqual([0, 1, undefined, 2, 6]);
});
