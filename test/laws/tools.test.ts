/** What real tools print of a secret comes out masked: shells that trace, languages that quote, encoders. Tools that are not installed are skipped. */
import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { createEngine } from "../../src/index.js";
import { ENGINES } from "../support/engines.js";

/** Parts that no spelling changes, between all that shells and languages quote. */
const SECRETS = [`Zq7h'Wp9h"Kx4h$Vb2h\\Nm8h`, `Zq7h &<Wp9h>; Kx4h*!%Vb2h|Nm8h`, "Zq7h`Wp9h''Kx4h\tVb2h(Nm8h)"];
const PARTS = /Zq7|Wp9|Kx4|Vb2|Nm8/;

const python = (code: string): string[] => ["python3", "-c", `import os,json,html,base64,urllib.parse as u; S=os.environ["S"]; ${code}`];
const TOOLS: readonly string[][] = [
  ["bash", "--norc", "-c", 'set -x; : "$S"'],
  ["bash", "--norc", "-c", "printf '%q' \"$S\""],
  ["bash", "--norc", "-c", 'declare -p S; echo "${S@Q}"'],
  ["dash", "-c", 'set -x; : "$S"'],
  ["dash", "-c", "export -p"],
  ["busybox", "ash", "-c", 'set -x; : "$S"'],
  ["zsh", "-c", 'set -x; : "$S"'],
  python("print(repr(S), repr(S.encode()))"),
  python("print(json.dumps(S), json.dumps(json.dumps(S)), json.dumps({'a': json.dumps([json.dumps(S)])}))"),
  python("print(u.quote(S), u.quote(S, safe=''), u.quote_plus(S), u.quote(u.quote(S, safe=''), safe=''))"),
  python("print(html.escape(S), html.escape(S, quote=False))"),
  ["perl", "-MData::Dumper", "-e", "$Data::Dumper::Terse = 1; print Dumper($ENV{S}); $Data::Dumper::Useqq = 1; print Dumper($ENV{S})"],
  ["node", "-e", "console.log(JSON.stringify(process.env.S), [process.env.S], encodeURIComponent(process.env.S))"],
];
const ENCODERS: readonly string[][] = [
  python("print(S.encode().hex(), S.encode().hex().upper(), S.encode().hex(':'))"),
  ["bash", "--norc", "-c", 'echo "user:$S" | base64'],
  ["bash", "--norc", "-c", 'printf "%s" "$S" | base64 -w 0 | base64 -w 0'],
  ["bash", "--norc", "-c", 'printf "xy%s%s" "$S" "$S" | base64 -w 20'],
  ["bash", "--norc", "-c", 'printf "%s" "$S" | od -An -v -tx1 | tr -d "\\n"'],
];

function output([command, ...args]: string[], secret: string): string | undefined {
  const { status, stdout, stderr, error } = spawnSync(command!, args, { env: { PATH: process.env["PATH"], S: secret }, encoding: "utf8" });
  return error === undefined && status === 0 ? stdout + stderr : undefined;
}

for (const { engine: kind } of ENGINES) {
  const masked = (secret: string, text: string): string => {
    const engine = createEngine({ engine: kind, secrets: [{ name: "S", value: secret }] });
    const result = engine.redact(text);
    engine.close();
    return result;
  };

  test.each(TOOLS)(`${kind}: %s %s %s`, (...tool) => {
    for (const secret of SECRETS) {
      const printed = output(tool, secret);
      if (printed === undefined) return;
      expect(printed).toMatch(PARTS);
      expect(masked(secret, printed)).not.toMatch(PARTS);
    }
  });

  test.each(ENCODERS)(`${kind}: %s %s %s`, (...tool) => {
    for (const secret of SECRETS) {
      const printed = output(tool, secret);
      if (printed === undefined) return;
      const rest = masked(secret, printed);
      expect(rest).toContain("[REDACTED:S]");
      // Base64 characters that neighbours share with the secret stay.
      expect(rest.replaceAll("[REDACTED:S]", "").replace(/\s/g, "")).toMatch(/^.{0,15}$/);
    }
  });
}
