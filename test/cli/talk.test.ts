/** What the command says itself: paths and arguments that hold a known secret come out masked, whatever goes wrong. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { commandEnv, logveil, MASK, newFolder, SECRET, WITH } from "../support/command.js";

test("paths that hold a known secret come out masked: in errors, findings, notices, summaries and the report", () => {
  const dir = newFolder();
  const name = `${SECRET}.log`;
  writeFileSync(join(dir, name), `a ${SECRET}\n`);
  writeFileSync(join(dir, `${SECRET}.zip`), "PK\x03\x04");
  writeFileSync(join(dir, `${SECRET}.png`), Buffer.from("89504e470d0a1a0a", "hex"));
  const files = [name, `${SECRET}.zip`, `${SECRET}.png`, `gone-${SECRET}`];
  for (const args of [
    ["check", ...WITH, "-v"],
    ["scrub", ...WITH, "-v", "--report", "report.jsonl", "--out", "out"],
    ["scrub", ...WITH, "-v", "--report", "-", "--in-place"],
  ]) {
    // The helper looks for the secret in stderr.
    const { out, err, code } = logveil([...args, ...files], { cwd: dir });
    expect([code, out.includes(SECRET)]).toEqual([3, false]);
    for (const what of [".log", ".zip", ".png"]) expect(err, what).toContain(`${MASK}${what}`);
    expect(err).toContain(`gone-${MASK}`);
  }
  const report = readFileSync(join(dir, "report.jsonl"), "utf8");
  expect([report.includes(SECRET), report.includes(`"stream":"${MASK}.log"`), report.includes(`${MASK}.zip`)]).toEqual([false, true, true]);
});

test.each([
  [["run", ...WITH, "--", `nonexistent-${SECRET}`], 127, `nonexistent-${MASK}: no such command`],
  [["scrub", ...WITH, `--frob-${SECRET}`], 2, "unknown option '--frob-***'"],
  [["scrub", `--frob=${SECRET}`, ...WITH], 2, "unknown option"],
  [["scrub", ...WITH, "--secrets", `/nonexistent/${SECRET}`], 2, "cannot read /nonexistent/***"],
  [["scrub", ...WITH, "--rules", `/nonexistent/${SECRET}`], 2, "/nonexistent/***"],
  [["scrub", ...WITH, "--report", `/nonexistent/${SECRET}`], 2, "/nonexistent/***"],
  [["scrub", ...WITH, "--out", `/dev/null/${SECRET}`, "/etc/hostname"], 2, `/dev/null/${MASK}`],
  [["serve", "--store-dir", `relative/${SECRET}`], 2, ""],
  [["serve", "--config", `/nonexistent/${SECRET}`], 2, "***"],
  [["audit", "verify", `/nonexistent/${SECRET}`], 2, "***"],
] as const)("an argument that holds a secret comes out masked: %j", (args, code, message) => {
  expect(logveil(args)).toMatchObject({ code, err: expect.stringContaining(message) });
});

test("a path that holds a credential of which no one told comes out masked, too", () => {
  const token = `ghp_${"aB3dE5gH7j".repeat(4).slice(0, 36)}`;
  expect(logveil(["check", `/nonexistent/${token}`]).err).toContain("/nonexistent/[REDACTED:github-token]");
  expect(logveil(["scrub", `--frob-${token}`]).err).not.toContain(token);
});

test("what is found in the command's own words is no finding", () => {
  const dir = newFolder();
  mkdirSync(join(dir, SECRET));
  writeFileSync(join(dir, SECRET, "a.log"), "clean\n");
  const { code, err } = logveil(["check", ...WITH, "--report", "-", join(SECRET, "a.log")], { cwd: dir });
  expect(code).toBe(0);
  expect(JSON.parse(err.trim().split("\n").at(-1)!)).toMatchObject({ type: "summary", findings: 0 });
  expect(commandEnv["MY_TOKEN"]).toBe(SECRET);
});

test("a secret's name that holds a value, and a mask text that does or that a rule masks, are refused at start", () => {
  const dir = newFolder();
  const list = join(dir, "list.jsonl");
  writeFileSync(list, `{"name":"x-${SECRET}","value":"another-value-1"}\n`);
  expect(logveil(["scrub", ...WITH, "--secrets", list], { input: "x" })).toMatchObject({
    code: 2,
    out: "",
    err: expect.stringMatching(/^logveil: secret x-\*\*\*: the name contains the value of secret .*; rename it/),
  });
  const fixed = ["--mask", "fixed", "--mask-text"];
  const token = `ghp_${"aB3dE5gH7j".repeat(4).slice(0, 36)}`;
  expect(logveil(["scrub", ...WITH, ...fixed, `<${SECRET}>`], { input: SECRET })).toMatchObject({
    code: 2,
    out: "",
    err: "logveil: the mask text contains the secret MY_TOKEN; choose another text (--mask-text, mask.text)\n",
  });
  expect(logveil(["scrub", ...fixed, token], { input: "x" })).toMatchObject({
    code: 2,
    out: "",
    err: expect.stringContaining("rule github-token masks the mask text"),
  });
});
