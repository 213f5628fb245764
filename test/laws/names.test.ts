/** Laws 6 and 7 of what a user chooses: the names of secrets, and the text of a mask, may not give a secret away. */
import { describe, expect, test } from "vitest";
import { createEngine, type Engine, type Finding, type SecretInput, type Warning } from "../../src/index.js";
import { ENGINES } from "../support/engines.js";

const VALUE = "hunter2-hunter2-$x";
const BASE64 = Buffer.from(VALUE).toString("base64");

describe.each(ENGINES)("$engine", ({ engine: kind }) => {
  const make = (secrets: readonly SecretInput[], more: object = {}): Engine => createEngine({ engine: kind, rules: false, secrets, ...more });
  const refused = (code: string): unknown => expect.objectContaining({ code, message: expect.not.stringContaining("hunter2") as string });
  const failure = (work: () => unknown): unknown => {
    try {
      return work();
    } catch (error) {
      return error;
    }
  };

  describe("a secret's name that holds a value is refused", () => {
    test.each([
      ["its own", [{ name: `prod-${VALUE}`, value: VALUE }]],
      [
        "that of one before",
        [
          { name: "A", value: VALUE },
          { name: VALUE, value: "other-value-1" },
        ],
      ],
      [
        "that of one behind",
        [
          { name: VALUE, value: "other-value-1" },
          { name: "A", value: VALUE },
        ],
      ],
      [
        "in another spelling",
        [
          { name: "A", value: VALUE },
          { name: `b64-${BASE64}`, value: "other-value-1" },
        ],
      ],
      [
        "of a secret that is refused",
        [
          { name: "A", value: VALUE },
          { name: `x ${VALUE}`, value: "true" },
        ],
      ],
    ] as const)("%s", async (_, secrets) => {
      expect(failure(() => make(secrets))).toEqual(refused("LV_SECRET_NAME"));
      const engine = make([]);
      await expect(engine.addSecrets(secrets)).rejects.toEqual(refused("LV_SECRET_NAME"));
      await expect(engine.replace({ secrets, rules: false })).rejects.toEqual(refused("LV_SECRET_NAME"));
      await expect(engine.scope("job").addSecrets(secrets)).rejects.toEqual(refused("LV_SECRET_NAME"));
      // Nothing has changed: what is handed over with another name is masked, and no duplicate.
      const reports = await engine.addSecrets(secrets.map(({ value }, i) => ({ name: `N${i}`, value })));
      expect(reports.map((each) => each.kind)).not.toContain("duplicate");
      expect(engine.redact(`x ${VALUE} y`)).toMatch(/^x \[REDACTED:N\d\] y$/);
      engine.close();
    });

    test("of a job, where all streams know the value; the message names places, not values", async () => {
      const engine = make([{ name: "GLOBAL", value: VALUE }]);
      const error = await engine
        .scope("job")
        .addSecrets([{ name: `a/${VALUE}/b`, value: "job-value-1" }])
        .catch((reason: Error) => reason);
      expect(error).toMatchObject({
        code: "LV_SECRET_NAME",
        message: "secret a/***/b: the name contains the value of secret GLOBAL, and logveil prints names; rename it, or leave one of them out",
        facts: { name: "a/***/b", secret: "GLOBAL" },
      });
      await expect(engine.scope("job").addSecrets([{ name: "ok", value: "GLOBAL" }])).rejects.toMatchObject({ facts: { name: "***", secret: "ok" } });
      engine.close();
    });

    test("the same words elsewhere are no matter: in other scopes, in parts, in what rules found", async () => {
      const engine = createEngine({ engine: kind, secrets: [{ name: "A", value: "web-server-01" }] });
      await engine.scope("one").addSecrets([{ name: "B", value: VALUE }]);
      await engine.scope("two").addSecrets([{ name: `for-${VALUE.slice(0, 7)}`, value: "two-value-2" }]);
      const token = `ghp_${"aB3dE5gH7j".repeat(4).slice(0, 36)}`;
      expect(engine.redact(`${token}\n`)).toBe("[REDACTED:github-token]\n");
      await engine.addSecrets([{ name: "C", value: "web-server-02-x" }]);
      engine.close();
    });

    test("among thousands of names", async () => {
      const many = Array.from({ length: 5000 }, (_, i) => ({ name: `SERVICE_NUMBER_${i}_TOKEN`, value: `value-of-service-${i}-x` }));
      const engine = make([]);
      await engine.addSecrets(many);
      await expect(engine.addSecrets([{ name: "late", value: "SERVICE_NUMBER_4711_TOKEN" }])).rejects.toMatchObject({ facts: { name: "***" } });
      await expect(engine.addSecrets([{ name: "at value-of-service-4711-x", value: "late-value-1" }])).rejects.toMatchObject({
        facts: { name: "at ***", secret: "SERVICE_NUMBER_4711_TOKEN" },
      });
      // Two names that stand side by side are not one.
      await engine.addSecrets([{ name: "late", value: "SERVICE_NUMBER_17_TOKENSERVICE_NUMBER_18_TOKEN" }]);
      engine.close();
    });
  });

  describe("the text of a mask", () => {
    const fixed = (text: string): object => ({ mask: { style: "fixed", text } });

    test.each([
      ["as it is", `<${VALUE}>`],
      ["in another spelling", `<${BASE64}>`],
    ])("that holds a secret %s is refused at start", async (_, text) => {
      expect(failure(() => make([{ name: "A", value: VALUE }], fixed(text)))).toEqual(refused("LV_MASK_TEXT"));
      const engine = make([], fixed(text));
      await engine.addSecrets([{ name: "A", value: VALUE }]);
      expect(failure(() => engine.checkMask())).toEqual(refused("LV_MASK_TEXT"));
      const other = make([], fixed(text));
      await expect(other.replace({ secrets: [{ name: "A", value: VALUE }], rules: false })).rejects.toEqual(refused("LV_MASK_TEXT"));
      expect(other.redact(`x ${VALUE}`)).toBe(`x ${VALUE}`);
      for (const each of [engine, other]) each.close();
    });

    test("that holds a secret which comes later is not used for any more", async () => {
      const warnings: Warning[] = [];
      const findings: Finding[] = [];
      const engine = make([{ name: "A", value: "first-value-1" }], {
        ...fixed(`<${VALUE}>`),
        onWarning: (each: Warning) => warnings.push(each),
        onFinding: (each: Finding) => findings.push(each),
      });
      const stream = engine.stream();
      await engine.addSecrets([{ name: "B", value: VALUE }]);
      const output = Buffer.concat([...stream.push(Buffer.from(`first-value-1 ${VALUE}\n`)), ...stream.end()]).toString();
      expect([output, findings.length]).toEqual(["*** ***\n", 2]);
      engine.close();
    });

    test("where every mask meets a secret, what stands instead holds none", async () => {
      const values = ["***abcdefgh", ...Array.from("‹«⟦【„", (quote) => `abcdefgh${quote}`), "abcdefgh<mi", "abc<mine>"];
      const warnings: Warning[] = [];
      const engine = make(
        values.map((value, i) => ({ name: `S${i}`, value })),
        { ...fixed("<mine>"), onWarning: (each: Warning) => warnings.push(each) },
      );
      expect(failure(() => engine.checkMask())).toBe(undefined);
      for (const value of values) expect(engine.redact(`x ${value} y`)).toBe("x <mine> y");
      await engine.addSecrets([{ name: "late", value: "<mine>" }]);
      for (const value of [...values, "<mine>"]) expect(engine.redact(`x ${value} y`)).toBe("x *** y");
      expect(warnings.map(({ code }) => code)).toContain("LV_MASK_MAY_COMPOSE");
      engine.close();
    });

    const token = `ghp_${"aB3dE5gH7j".repeat(4).slice(0, 36)}`;
    test.each([
      ["a token", token, "github-token"],
      ["an assignment", "password=correcthorse99", "password-assignment"],
      ["a value of which a part stays", "S3cr3t!Value99", "authorization-header"],
    ])("that a rule would mask is refused: %s", async (_, text, rule) => {
      expect(failure(() => createEngine({ engine: kind, ...fixed(text) }))).toMatchObject({ code: "LV_MASK_TEXT", facts: { rule } });
      const engine = make([], fixed(text));
      await expect(engine.replace({ secrets: [], rules: {} })).rejects.toMatchObject({ code: "LV_MASK_TEXT" });
      engine.close();
    });

    test.each(["<hidden>", "<hidden value>", "REDACTED", "gone4now", "MASKED", "(masked)", "█████", "a, b", "{{secret}}"])(
      "%s may stand, and masking twice changes nothing",
      (text) => {
        const engine = createEngine({ engine: kind, secrets: [{ name: "A", value: VALUE }], ...fixed(text) });
        const log = ["password=@", '"password": "@"', "Authorization: Bearer @", "https://user:@@host.example/", "export TOKEN='@'", "@ @"]
          .map((line) => `${line.replace("@", VALUE)}\n`)
          .join("");
        const once = engine.redact(log);
        expect(once).not.toContain("hunter2");
        expect(engine.redact(once)).toBe(once);
        engine.close();
      },
    );
  });
});
