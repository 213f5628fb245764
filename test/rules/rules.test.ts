/** Rules of one's own: what the loader refuses and how it says so, what it can prove, import, blocks, runs, learning. */
import fc from "fast-check";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { createEngine, type Finding, type RuleSource } from "../../src/index.js";
import { bytesOf, lengths, placesOf } from "../../src/rules/analysis.js";
import { importGitleaks, unpack } from "../../src/rules/gitleaks.js";
import { parseRules } from "../../src/rules/load.js";
import { classes, randomness } from "../../src/rules/random.js";
import { compilePattern } from "../../src/rules/re2.js";
import { jsonSchema } from "../../src/rules/schema.js";
import { parseRegex } from "../../src/rules/regex.js";
import { cook } from "../../src/rules/recipes.js";
import { ENGINES } from "../support/engines.js";

const BASE = {
  id: "my-rule",
  description: "of ours",
  category: "token",
  confidence: "high",
  kind: "run",
  anchors: ["myt_"],
  charset: "b62",
  minLen: 8,
  examples: ["myt_{b62:12}"],
  references: ["https://x.example"],
  provenance: "test",
};

const toml = (rule: object): string =>
  `[[rules]]\n${Object.entries(rule)
    .filter(([, value]) => value !== undefined)
    .map(([field, value]) => `${field} = ${JSON.stringify(value)}`)
    .join("\n")}\n`;
const load = (change: object): readonly RuleSource[] => parseRules(toml({ ...BASE, ...change }), "own.toml");
const line = (change: object): readonly RuleSource[] => load({ kind: "line", minLen: undefined, charset: undefined, ...change });

test("takes a rule", () => {
  expect(load({})[0]!.id).toBe("my-rule");
});

test.each([
  ["an unknown field, with its line and what was meant", () => load({ ankers: ["x"] }), /^own\.toml:13: unknown field "ankers"; did you mean anchors\?$/],
  ["a wrong value", () => load({ confidence: "sure" }), /^own\.toml:5: confidence: .*certain/],
  ["a missing field", () => load({ description: undefined }), /^own\.toml:1: description: /],
  ["no TOML", () => parseRules("[[rules]]\nid = \n", "own.toml"), /^own\.toml:2: no TOML/],
  ["an alphabet that is none", () => load({ charset: "base99" }), /own\.toml:8: rule my-rule: charset: "base99" is no alphabet/],
  ["an example that is not found", () => load({ examples: ["myt_{b62:4}"] }), /examples: number 1: expected 0–8 of 8 bytes, found nothing/],
  ["a span that is not exact", () => load({ examples: ["⟦myt_{b62:6}⟧{b62:6}"] }), /examples: number 1: expected 0–10 of 16 bytes, found 0–16/],
  ["a negative that is found", () => load({ negatives: ["x myt_{b62:9}"] }), /negatives: number 1: expected nothing, found 2–15/],
  ["a regex without bounds", () => line({ regex: "(?P<secret>myt_[a-z]+)" }), /regex: its matches have any number of bytes/],
  ["a claim that is too small", () => line({ regex: "(?P<secret>myt_[a-z]{8})", maxLen: 9 }), /maxLen: its regex matches up to 12 bytes, more than the 9/],
  ["an anchor that need not be there", () => line({ regex: "(?P<secret>(?:myt_)?[a-z]{8})" }), /anchors: the regex can match without any/],
  ["a regex that is none", () => line({ regex: "(?P<secret>myt_[a-z]{8}" }), /regex: missing \)/],
  ["no group", () => line({ regex: "myt_[a-z]{8}" }), /regex: what is masked must stand in a group/],
  ["a field of another kind", () => load({ regex: "x" }), /regex: a run rule has no regex/],
] as const)("refuses %s", (_, work, message) => {
  expect(work).toThrow(message);
  expect(() => work()).toThrow(expect.objectContaining({ code: "LV_RULES" }));
});

test("what is said of an expression holds for what it matches", () => {
  const atom = fc.constantFrom("a", "b", "[ab]", "[^ab]", "\\d", "(?i:a)", "(?:ab|c)", ".", "\\x61", "[[:digit:]]", "a|bc", "(?:a|)");
  const piece = fc
    .tuple(atom, fc.constantFrom("", "?", "{2}", "{0,2}", "{1,3}"))
    .map(([source, count]) => (source.includes("|") ? `(?:${source})${count}` : source + count));
  fc.assert(
    fc.property(fc.array(piece, { minLength: 1, maxLength: 5 }), fc.array(fc.constantFrom(..."abcA19\xe4 "), { maxLength: 12 }), (pieces, chars) => {
      const source = pieces.join("");
      const node = parseRegex(source);
      const match = compilePattern(`^(?:${source})`).exec(chars.join(""));
      if (match === null) return;
      const { min, max } = lengths(node);
      expect(match[0].length).toBeGreaterThanOrEqual(min);
      expect(match[0].length).toBeLessThanOrEqual(max);
      const [bytes, places] = [bytesOf(node), placesOf(node, 8)];
      [...match[0]].forEach((char, at) => {
        expect(bytes[char.charCodeAt(0)]).toBe(1);
        if (at < 8) expect(places[at]![char.charCodeAt(0)]).toBe(1);
      });
    }),
    { numRuns: 2000 },
  );
});

test("random strings look random, words do not", () => {
  for (const [alphabet, length] of [
    ["b62", 20],
    ["b62", 40],
    ["u", 32],
    ["hex", 32],
    ["b36", 24],
    ["lower", 24],
  ] as const) {
    const random = Array.from({ length: 300 }, (_, i) => cook(`{${alphabet}:${length}}`, `${i}`).text).filter((text) => randomness(text) >= 0.001);
    expect(random.length / 300, `${alphabet}, ${length}`).toBeGreaterThan(0.975);
  }
  for (const text of [
    "continuous-integration-server",
    "getRepositoryDescription",
    "linuxdistributionpackages",
    "aaaaaaaaaaaaaaaaaaaaaaaa",
    "build_configuration_debug_mode",
  ])
    expect(randomness(text), text).toBeLessThan(0.001);
  expect(classes("aB1-")).toBe(4);
});

const fixtures = process.env["LOGVEIL_FIXTURES"] ?? fileURLToPath(new URL("../../../shared/fixtures", import.meta.url));
const gitleaks = `${fixtures}/rules/gitleaks.toml.gz`;

test.runIf(existsSync(gitleaks))("imports a gitleaks configuration whole, and says why where not", () => {
  const text = unpack(readFileSync(gitleaks)).toString();
  const given = text.split("\n[[rules]]").length - 1;
  const plain = importGitleaks(text, "gitleaks.toml");
  expect(plain.rules.length + plain.rejected.length).toBe(given);
  for (const { reason } of plain.rejected) expect(reason).toMatch(/paths of files only|without an end|no literal of 3 bytes/);
  const bounded = importGitleaks(text, "gitleaks.toml", 200);
  expect(bounded.rejected.length).toBeLessThan(10);
  const engine = createEngine({ rules: { builtin: false, extra: bounded.rules } });
  expect(engine.redact(`token ${cook("ghp_{b62:36}", "x").text} end`)).toBe("token [REDACTED:github-pat] end");
});

test("bounds what has no end when told to, keeps entropy and allowlists", () => {
  const text = `[[rules]]\nid = "My Rule"\nregex = '''key=([a-z0-9]+)'''\nkeywords = ["key="]\nentropy = 3.0\n[[rules.allowlists]]\nstopwords = ["example"]\n`;
  expect(importGitleaks(text, "x").rejected[0]!.reason).toContain("without an end");
  const [rule] = importGitleaks(text, "x", 64).rules;
  expect(rule).toMatchObject({ id: "my-rule", regex: "key=(?P<secret>[a-z0-9]{1,64})", random: { measure: "shannon", min: 3 }, allow: ["(?i)example"] });
  const engine = createEngine({ rules: { builtin: false, extra: [rule!] } });
  expect(engine.redact("key=a1b2c3d4e5f6 key=aaaaaaaaaa key=a1b2example3")).toBe("key=[REDACTED:my-rule] key=aaaaaaaaaa key=a1b2example3");
});

describe.each(ENGINES)("$engine", ({ engine: name }) => {
  const token = cook("ghp_{b62:36}", "t").text;
  const pieces = (text: string, size: number): Buffer[] =>
    Array.from({ length: Math.ceil(text.length / size) }, (_, i) => Buffer.from(text.slice(i * size, (i + 1) * size)));
  const run = (text: string, size: number, options: object = {}): { output: string; findings: Finding[] } => {
    const findings: Finding[] = [];
    const stream = createEngine({ engine: name, onFinding: (finding) => findings.push(finding), ...options }).stream();
    const output = [...pieces(text, size).flatMap((piece) => stream.push(piece)), ...stream.end()];
    return { output: Buffer.concat(output).toString(), findings };
  };

  test("a run is masked to its end, however long", () => {
    const text = `x ${token}${"a".repeat(9000)} y\n`;
    for (const size of [text.length, 1000, 7]) expect(run(text, size).output).toBe("x [REDACTED:github-token] y\n");
  });

  test("findings name rule, confidence, place and fingerprint", () => {
    const { findings } = run(`a\nb ${token} c\n`, 5);
    expect(findings).toEqual([
      {
        kind: "masked",
        secret: "github-token",
        rule: "github-token",
        confidence: "certain",
        variant: "plain",
        fingerprint: expect.stringMatching(/^[A-Z2-7]{8}$/),
        stream: "stream-1",
        line: 2,
        offset: 4,
        length: 40,
      },
    ]);
    expect(JSON.stringify(findings)).not.toContain(token);
  });

  test("a known secret counts before a rule", () => {
    expect(run(`x ${token} y`, 3, { secrets: [{ name: "PAT", value: token }] }).output).toBe("x [REDACTED:PAT] y");
  });

  test("what a sure rule found is masked in other spellings from there on, and not before", () => {
    const value = cook("{b62:30}", "v").text;
    const encoded = Buffer.from(value).toString("base64");
    const text = `${value}\nAuthorization: Bearer ${value}\n${value} ${encoded}\n`;
    const wanted = `${value}\nAuthorization: Bearer [REDACTED:authorization-header]\n[REDACTED:authorization-header] [REDACTED:authorization-header]\n`;
    for (const size of [text.length, 64, 13, 1]) expect(run(text, size).output, `${size}`).toBe(wanted);
    expect(run(text, 64, { rules: { learn: false } }).output.endsWith(`${value} ${encoded}\n`)).toBe(true);
  });

  test("an ordinary value is masked where a rule finds it and nowhere else, unless it was declared a secret", () => {
    const text = "git clone https://u:letmein@host/x\nthey let me in: letmein\n::add-mask::Octocat\nMona Octocat\n";
    const wanted =
      "git clone https://u:[REDACTED:url-password]@host/x\nthey let me in: letmein\n::add-mask::[REDACTED:github-add-mask]\nMona [REDACTED:github-add-mask]\n";
    for (const size of [text.length, 7, 1]) expect(run(text, size).output).toBe(wanted);
  });

  test.each([1, 7, 1e6])("a generated password is masked whole wherever its marks stand, chunks of %d", (size) => {
    const passwords = [
      "a(b;c,d<Xq9!kP2",
      "$k[@ad^9($fezrYX:",
      "<g48)#rK}wnDsy*5",
      "}08ip#sn|i%t/(L|",
      "{xAXz*aW?iE|-tW7",
      ",Rm;x~!*^<X]#%B9",
      "%Y,LC_S,^euw->l7",
      "@(9`]gYDqxHlH#HF)",
    ];
    const shell = (text: string): string => text.replaceAll("\\", "\\\\").replaceAll('"', '\\"');
    const places: readonly ((text: string) => string)[] = [
      (text) => `export DB_PASSWORD="${shell(text)}" x`,
      (text) => `  password: '${text}'\n`,
      (text) => `DB_PASSWORD=${text.replaceAll("`", "~")}\nHOME=/root`,
      (text) => `password: ${text.replaceAll("`", "~")}\r\n`,
      (text) => JSON.stringify({ user: "me", password: `${text}"x\\7` }),
      (text) => `{'password': '${text}', 'next': 'word'}`,
    ];
    for (const text of passwords) {
      for (const place of places) {
        const { output } = run(place(text), size, { rules: { learn: false } });
        expect(output, place(text)).toBe(place("\0").replace(/(?:\0|\\u0000)(?:\\"x\\\\7)?/, "[REDACTED:password-assignment]"));
      }
    }
  });

  test.each([1, 7, 1e6])("values of a manifest are masked behind the prefix of its lines, its end is seen, chunks of %d", (size) => {
    const lines = [
      "0.456 kind: Secret",
      "1.457 stringData:",
      "1.457   user: ⟦some one⟧",
      "1.458   note: |",
      "1.458     ⟦first line⟧",
      "1.459   next: ⟦x1y2⟧",
      "1.459 type: Opaque",
      "1.460   user: some one",
      "done in 3 s",
      "data:",
      "  user: some one",
    ];
    const text = lines.map((each) => `#12 ${each}\n`).join("");
    const { output } = run(text.replace(/[⟦⟧]/g, ""), size);
    expect(output).toBe(text.replace(/⟦[^⟧]*⟧/g, "[REDACTED:kubernetes-secret-value]"));
  });

  test("what looks like an assignment and is none stays readable", () => {
    const lines = [
      "(agent_get_passphrase): Ditto.",
      "* g10/passphrase.c: Include the header",
      "conn = connect(user=user, password=password)",
      "password = getpass.getpass()",
      "self.password = parsed.password",
      'login($user,$password="",$timeout=30000)',
      "-plugin-opt=-pass-through=-lgcc_s",
      "'ls', 'passwd', 'quickcheck'",
      "a two-pass command-line tool, end-of-pass processing, regen-token regen-ast",
    ];
    for (const each of lines) for (const size of [999, 3]) expect(run(`${each}\n`, size).output).toBe(`${each}\n`);
    for (const each of ["password=hunter22", "DB_PASS: s3same", "password: (hunter22)"])
      expect(run(`${each}\n`, 3).output).toContain("[REDACTED:password-assignment]");
  });

  test("a line that only begins a block takes no others with it", () => {
    const rest = Array.from({ length: 60 }, (_, i) => `close(${i}) = 0\nopen src/app/modules/component${i}/indexfile\n`).join("");
    expect(run(`x = "-----BEGIN RSA PRIVATE KEY-----"\n${rest}`, 500).output.split("\n").slice(1).join("\n")).toBe(rest);
  });

  test("what one stream learned, streams of its job know and others do not", () => {
    const engine = createEngine({ engine: name });
    const job = engine.scope("job");
    const [first, same, other] = [job.stream(), job.stream(), engine.stream()];
    first.push(Buffer.from("::add-mask::open sesame 42\n"));
    const text = (stream: typeof first): string => Buffer.concat([...stream.push(Buffer.from("say open sesame 42 now\n")), ...stream.end()]).toString();
    expect(text(same)).toBe("say [REDACTED:github-add-mask] now\n");
    expect(text(other)).toBe("say open sesame 42 now\n");
    first.end();
  });

  test("learns no more than the limit, and says so once", () => {
    const warnings: string[] = [];
    const text = Array.from({ length: 12 }, (_, i) => `::add-mask::value number ${i} of many\n`).join("");
    const { output } = run(text, 40, { limits: { maxLearned: 4 }, onWarning: ({ code }: { code: string }) => warnings.push(code) });
    expect(output).not.toContain("value number");
    expect(warnings).toEqual(["LV_LEARNED"]);
  });

  test("a block without an end stays masked, and one that is none is left", () => {
    const begin = "-----BEGIN RSA PRIVATE KEY-----\n";
    const body = cook("{b64:64}", "b").text;
    for (const size of [1, 50, 4000]) {
      expect(run(`${begin}${body}\n${body}`, size).output).toBe("[REDACTED:pem-private-key]\n\n");
      expect(run(`-----BEGIN CERTIFICATE-----\n${body}\n`, size).output).toBe(`-----BEGIN CERTIFICATE-----\n${body}\n`);
    }
  });

  test("a block in source code, quoted and joined, gives none of its lines away", () => {
    const lines = Array.from({ length: 4 }, (_, i) => cook("{b62:64}", `line ${i}`).text);
    const text = ['"-----BEGIN RSA PRIVATE KEY-----\\n" +', ...lines.map((body) => `"${body}\\n" +`), '"-----END RSA PRIVATE KEY-----\\n";', ""].join("\n");
    for (const size of [1, 50, 4000]) {
      const { output } = run(text, size);
      for (const body of lines) expect(output).not.toContain(body.slice(0, 8));
      expect(output.split("\n").length).toBe(text.split("\n").length);
    }
  });

  test("counts without masking where the policy says so; leaves disabled and unsure rules out", () => {
    const { output, findings } = run(`x ${token} y`, 4, { rules: { policy: { "github-token": "count" } } });
    expect([output, findings.map(({ kind }) => kind)]).toEqual([`x ${token} y`, ["counted"]]);
    expect(run(`x ${token} y`, 4, { rules: { disable: ["github-token"] } }).findings).toEqual([]);
    expect(run("password: hunter2-x9", 4, { rules: { minConfidence: "high" } }).findings).toEqual([]);
    expect(() => createEngine({ rules: { disable: ["githubtoken"] } })).toThrow(/no rule githubtoken to disable/);
  });

  test("silence in the middle of a token masks what has come of it, and the rest when it comes", () => {
    const found: Finding[] = [];
    const stream = createEngine({ engine: name }).stream({ onFinding: (finding) => found.push(finding) });
    const text = (out: Uint8Array[]): string => Buffer.concat(out).toString();
    expect(text(stream.push(Buffer.from(`x ${token.slice(0, 10)}`)))).toBe("x ");
    expect(text(stream.idle())).toBe("[REDACTED:github-token]");
    expect(text(stream.push(Buffer.from(token.slice(10, 15))))).toBe("");
    // It touches the mask that is there.
    expect(text(stream.idle())).toBe("");
    expect(text(stream.push(Buffer.from(`${token.slice(15)} y glpat-abc`)))).toBe(" y ");
    // Of what is hardly begun nothing is known yet.
    expect(text(stream.idle())).toBe("glpat-abc");
    stream.end();
    expect(found.filter(({ kind }) => kind === "exposed")).toEqual([]);
  });
});

test("the schema for editors takes what the loader takes, and names what it does not", () => {
  const schema = jsonSchema() as {
    properties: { rules: { items: { properties: Record<string, unknown>; required: string[]; additionalProperties: boolean } } };
  };
  const { properties, required, additionalProperties } = schema.properties.rules.items;
  expect(additionalProperties).toBe(false);
  expect(Object.keys(properties)).toEqual(expect.arrayContaining(Object.keys(BASE)));
  expect(required).toEqual(expect.arrayContaining(["id", "kind", "examples", "references", "provenance"]));
  expect(required).not.toContain("decode");
  for (const [name, field] of Object.entries(properties)) expect(JSON.stringify(field), name).toMatch(/"(?:type|enum|anyOf)":/);
});
