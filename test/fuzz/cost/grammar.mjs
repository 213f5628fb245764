/** What inputs are made of: pieces of every grammar that the engine knows, by kind. A piece is bytes as a Latin-1 string. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Known secrets of every run: ordinary, one that repeats itself, one of several lines, and numbers. */
export const SECRETS = [
  { name: "PLAIN", value: "hunter2-hunter2-xQ" },
  { name: "REPEATS", value: "abaababaabaababaababa".repeat(4) },
  { name: "LINES", value: "-----BEGIN X-----\nYWJjZGVmZ2hpamtsbW5vcHFy\nc3R1dnd4eXowMTIzNDU2Nzg5\n-----END X-----\n" },
  { name: "NUMBER", value: "4111111111111111" },
  { name: "TOKEN", value: "web-01" },
];

const bytes = (text) => Buffer.from(text, "latin1");
const hex = (text) => bytes(text).toString("hex");
const base64 = (text) => bytes(text).toString("base64");

/** Ways to spell a text; a mutation applies one to a piece, also over and over. */
export const SPELLINGS = {
  json: (text) => JSON.stringify(text).slice(1, -1),
  unicode: (text) => text.replaceAll(/[^0-9A-Za-z ]/g, (char) => `\\u00${hex(char)}`),
  percent: (text) => text.replaceAll(/[^0-9A-Za-z]/g, (char) => `%${hex(char)}`),
  octal: (text) => text.replaceAll(/[^0-9A-Za-z ]/g, (char) => `\\0${bytes(char)[0].toString(8)}`),
  hexEscape: (text) => text.replaceAll(/[^0-9A-Za-z ]/g, (char) => `\\x${hex(char)}`),
  entity: (text) => text.replaceAll(/[^0-9A-Za-z ]/g, (char) => `&#${bytes(char)[0]};`),
  base64,
  hex,
  url64: (text) => bytes(text).toString("base64url"),
  coloured: (text) => [...text].join("\x1b[31m"),
  wrapped: (text) => text.replaceAll(/.{1,7}/gs, "$&\n"),
  overstruck: (text) => [...text].map((char) => `x\b${char}`).join(""),
  cut: (text) => text.slice(0, Math.max(1, text.length >> 1)),
  shortened: (text) => text.slice(0, -1),
  quoted: (text) => `"${text}"`,
  assigned: (text) => `password=${text}`,
};

const lines = (text) => text.split("\n").filter(Boolean);

/** An example of what each rule finds, by its id: generated, so that no file holds what looks like a credential. */
async function examplesOf(dist) {
  const [{ loadRules }, { cook }] = await Promise.all(["load", "recipes"].map((name) => import(`${dist}/rules/${name}.js`)));
  const rules = loadRules([fileURLToPath(new URL("../../../patterns", import.meta.url))]);
  return new Map(rules.flatMap(({ id, examples }) => examples.slice(0, 1).map((recipe) => [id, Buffer.from(cook(recipe, id).text).toString("latin1")])));
}

/** The text of a piece: itself, or the example of a rule, spelled in one way after the other. */
function textOf({ text, rule, spellings = [] }, examples) {
  return spellings.reduce((spelled, way) => SPELLINGS[way](spelled), text ?? examples.get(rule) ?? "");
}

/** Reads the inputs of a corpus: `{ head, unit, chunk, framing }` as measure.mjs takes them, by the names of their files. */
export async function readCorpus(folder, dist) {
  const examples = await examplesOf(dist);
  const files = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith(".json")) : [];
  return files.map((file) => {
    const { head, pieces, chunk, framing } = JSON.parse(readFileSync(join(folder, file), "utf8"));
    const [unit, first] = [pieces, head].map((list) => list.map((piece) => textOf(piece, examples)).join(""));
    return { name: file.slice(0, -".json".length), head: first, unit, chunk, framing };
  });
}

/** Kinds of pieces of a built library: `{ kind: [{ text, rule }, …] }`; `rule` where the text is its example. */
export async function grammarOf(dist) {
  const { packOf } = await import(`${dist}/rules/builtin.js`);
  const { table } = packOf({});
  const anchors = Array.from({ length: table.offsets.length - 1 }, (_, i) =>
    Buffer.from(table.bytes.subarray(table.offsets[i], table.offsets[i + 1])).toString("latin1"),
  );
  // What a rule finds: every one is judged to its end, masked, told of, perhaps learned.
  const hits = [...(await examplesOf(dist))].filter(([, { length }]) => length < 2000).map(([rule, text]) => ({ text, rule }));
  const key = "MIIEowIBAAKCAQEAxk3vT9qLm2Rr8WyZs5bNd1HcJfUg7Pt0aXoQeKiVhBnMz4Cu";
  const texts = {
    anchor: anchors,
    begin: ["RSA PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK", "CERTIFICATE"].flatMap((what) => [
      `-----BEGIN ${what}-----`,
      `-----BEGIN ${what}`,
      `-----END ${what}-----`,
      `---- BEGIN SSH2 ENCRYPTED ${what} ----`,
      `-----BEGIN ${what}-----\n${key}\n`,
      `-----BEGIN ${what}-----\\n${key}\\n`,
    ]),
    body: [key, `${key}\n`, `${key}\\n`, "Proc-Type: 4,ENCRYPTED\n", "PuTTY-User-Key-File-3: ssh-rsa\n", "Private-Lines: 14\n"],
    mapping: lines(
      'kind: Secret\ndata:\nstringData:\n  a: kind: Secret\n  a: b\n- name: PASSWORD\n  value: x\napiVersion: v1\nenv:\nsecrets:\n  password: |\n  - a\n"data": {\n"a": "b",\n{"kind":"Secret","data":{\n<add key="\n<password>\nmachine x login y password z\n[default]',
    ).flatMap((line) => [line, `${line}\n`, `  ${line}\n`]),
    name: lines(
      "password\npasswd\nsecret\ntoken\napi_key\napikey\nclient_secret\nauth\ncredential\nsig\npwd\nAuthorization: Bearer \nAuthorization: Basic \n--password \n-p \n-u user:\nhttps://user:\n://\nAccountKey=\nDATABASE_URL=\n_authToken=\nexport \nset \nSECRET_",
    ),
    operator: ["=", ":", ": ", " = ", ":=", "=>", "==", "\\u003d", "%3D", "&#61;", "\\x3d", "(", ",", "|", '="', ": '", "=$", "=${", "= <", '\\":\\"', '":"'],
    value: [
      "Zq81kLmn4Tr9",
      "correct-horse-battery",
      "0123456789abcdef0123456789abcdef",
      "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6",
      "xxxxxxxxxxxx",
      "a".repeat(40),
      "9".repeat(20),
      "*".repeat(8),
    ],
    encoded: [
      base64("an ordinary line of some log, nothing secret about it; "),
      base64("password=Zq81kLmn4Tr9 and more of it, on and on and on"),
      base64(base64("token: Zq81kLmn4Tr9kLmn4TrZq81kLmn4Tr9 on and on")),
      base64("-----BEGIN RSA PRIVATE KEY-----\n"),
      hex("an ordinary line of some log"),
      hex("password=Zq81kLmn4Tr9"),
      "eyJhbGciOiJIUzI1NiJ9.",
      "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
      "eyJzdWIiOiIxMjM0NTY3ODkwIn0",
      "H4sIAAAAAAAAA",
      "%70%61%73%73%77%6f%72%64",
      "\\x70\\x61\\x73\\x73",
      "\\u0070\\u0061\\u0073",
      "\\160\\141\\163\\163",
      "&#112;&#97;&#115;&amp;",
    ],
    escape: [
      "\\",
      "\\\\",
      "\\\\\\\\",
      "\\n",
      "\\\\n",
      "\\u000a",
      "\\u005cn",
      '\\"',
      '\\\\\\"',
      "\\u0022",
      "\\u001b[31m",
      "\\x1b[0m",
      "%",
      "%25",
      "%2525",
      "&",
      "&amp;",
      "&amp;amp;",
      "\\u00",
      "\\x",
      "=\\\n",
    ],
    control: [
      "\x1b",
      "\x1b[",
      "\x1b[31m",
      "\x1b[0m\x1b[1m",
      "\x1b]8;;http://x\x07",
      "\x1b]0;",
      "\x1bP",
      "\x1b\\",
      "\b",
      "x\b",
      "\b\b",
      "\0",
      "\x07",
      "\r",
      "\n",
      "\r\n",
      "\x9b31m",
      "\xc2\x9b31m",
      "\x7f",
    ],
    plain: [
      " ",
      "  ",
      "\t",
      ".",
      "-",
      "_",
      "/",
      "+",
      "=",
      "0",
      "a",
      "A",
      "aB3",
      "xY9z",
      ";",
      ",",
      "{",
      "}",
      "[",
      "]",
      "<",
      ">",
      '"',
      "'",
      "`",
      "\xe9",
      "\xff",
      "ordinary words ",
      "2026-11-21T09:00:00Z ",
    ],
    secret: SECRETS.flatMap(({ value }) => [
      value,
      value.slice(0, -1),
      value.slice(0, 5),
      base64(value),
      base64(value).slice(0, -5),
      hex(value).slice(0, -1),
      JSON.stringify(value).slice(1, -2),
    ]),
  };
  return { ...Object.fromEntries(Object.entries(texts).map(([kind, all]) => [kind, all.map((text) => ({ text }))])), hit: hits };
}
