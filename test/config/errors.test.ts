/** Everything that can be wrong with a configuration, and what is said of it, in full. */
import { chmodSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { loadConfig } from "../../src/config/index.js";
import { checkRules } from "../../src/config/rules.js";
import { LogveilError } from "../../src/errors.js";
import { folder, HOME, loadText, problemsOf, write } from "./support.js";

const SIZE = "expected a size such as 64MiB, with one of the units B, KiB, MiB, GiB, TiB";
const TIME = "expected a time such as 250ms, 5s or 10m, with one of the units ms, s, m, h, d";
const PATH = "expected an absolute path, such as /var/lib/logveil";
const ADDRESS = "expected an address: 127.0.0.1:8514, [::1]:8514 or unix:/path";
const SERVER = "expected off or a syslog server: tcp://127.0.0.1:514, udp://[::1]:514 or tls://logs.example.com:6514";
const URL = "expected a URL such as https://logs.example.com/path";

describe("one thing wrong with a file", () => {
  test.each<[string, string]>([
    // No mapping, no YAML.
    ["- a\n", "FILE:1: expected a mapping of fields, such as listen: 127.0.0.1:4180"],
    ["# c\njust text\n", "FILE:2: expected a mapping of fields, such as listen: 127.0.0.1:4180"],
    ["store:\n\tdir: /x\n", "FILE:2: no YAML: indented by a tab: YAML takes spaces"],
    ['listen: "127\n', "FILE:2: no YAML: a quote, bracket, comma or colon is missing"],
    ["store:\n  dir: /x\n maxAge: 1d\n", "FILE:3: no YAML: the indentation does not fit, or a bracket is not closed"],
    ["store: { dir: /x\n", "FILE:2: no YAML: the indentation does not fit, or a bracket is not closed"],
    ["listen: a: b\n", "FILE:1: no YAML: a mapping within a line; is a line end or an indentation missing?"],
    ["log: {}\n---\nlog: {}\n", "FILE:2: no YAML: expected one document; a second one begins here"],
    ["log: @x\n", "FILE:1: no YAML: a value that begins with a character of YAML's own: put it in quotes"],
    [`routes: ${"[".repeat(5000)}`, "FILE:1: no YAML: nested too deep"],
    ["store: &a { dir: /x }\n", "FILE:1: anchors (&) and aliases (*) are not taken: write the value out"],
    ["log: *a\n", "FILE:1: anchors (&) and aliases (*) are not taken: write the value out"],
    ["listen: [a]]\n", "FILE:1: no YAML: it cannot be understood here"],
    ["log: !!map {}\n", "FILE:1: tags (!) are not taken: the schema tells what a value is"],
    ["? [a]\n: b\n", "FILE:1: expected a name before the colon"],
    ["log: { <<: { level: info } }\n", "FILE:1: log: unknown field; known: level, format"],
    // Unknown fields.
    ["listn: 1\n", 'FILE:1: unknown field "listn"; did you mean listen?'],
    ["store:\n  max_age: 1d\n", 'FILE:2: store: unknown field "max_age"; did you mean maxAge?'],
    ["store.dir: /x\n", 'FILE:1: unknown field "store.dir"; fields of store are indented beneath "store:"'],
    ["auth: { somethingElse: 1 }\n", 'FILE:1: auth: unknown field "somethingElse"; known: hosts, tokenFile'],
    [
      "__proto__: { a: 1 }\n",
      "FILE:1: unknown field; known: listen, admin, control, tls, auth, store, upstream, routes, secrets, rules, mask, limits, jobs, spool, syslog, audit, onFinding, shutdown, log",
    ],
    ["log:\n  level: info\n  level: warn\n", "FILE:3: level: said twice, first on line 2"],
    ["routes:\n  - path: /a\n    path: /b\n    framing: text\n", "FILE:3: path: said twice, first on line 2"],
    // Wrong types.
    ["store: /x\n", "FILE:1: store: expected a mapping of dir, maxFileSize, maxAge, maxBytes, flushInterval, compress"],
    ["log: [debug]\n", "FILE:1: log: expected a mapping of level, format"],
    ["mask:\n  text:\n", "FILE:2: mask.text: expected text; leave the field out for its default"],
    ["mask: { style: fixed, text: 5 }\n", 'FILE:1: mask.text: expected a text; put "quotes" around it'],
    ["rules: { learn: yes }\n", "FILE:1: rules.learn: expected true or false; did you mean true?"],
    ["rules: { learn: 1 }\n", "FILE:1: rules.learn: expected true or false"],
    ["rules: { files: /x }\n", "FILE:1: rules.files: expected a list of paths: [a, b]"],
    ["rules: { disable: [ok, No Id] }\n", "FILE:1: rules.disable[1]: expected the id of a rule, or a confidence: low, medium, high, certain"],
    ["rules: { minConfidence: hgh }\n", "FILE:1: rules.minConfidence: expected one of low, medium, high, certain; did you mean high?"],
    ["rules: { policy: [low] }\n", "FILE:1: rules.policy: expected mapping of rule ids or confidences to mask, mask+count or count"],
    ["rules:\n  policy:\n    low: cont\n", "FILE:3: rules.policy.low: expected one of mask, mask+count, count; did you mean count?"],
    ["rules: { policy: { A b: mask } }\n", "FILE:1: rules.policy.?: expected the id of a rule, or a confidence: low, medium, high, certain"],
    ["limits: { maxRatio: '5' }\n", "FILE:1: limits.maxRatio: expected a whole number from 1 to 1000000"],
    ["limits: { maxRatio: 1.5 }\n", "FILE:1: limits.maxRatio: expected a whole number from 1 to 1000000"],
    ["limits: { maxRatio: 0 }\n", "FILE:1: limits.maxRatio: expected a whole number from 1 to 1000000"],
    ["limits: { maxRatio: .nan }\n", "FILE:1: limits.maxRatio: expected a whole number from 1 to 1000000"],
    // Units.
    ["store: { maxFileSize: 64 }\n", `FILE:1: store.maxFileSize: ${SIZE}; a number without its unit says too little`],
    ["store: { maxFileSize: 64MB }\n", `FILE:1: store.maxFileSize: ${SIZE}, without fractions and spaces`],
    ["store: { maxFileSize: 1.5GiB }\n", `FILE:1: store.maxFileSize: ${SIZE}, without fractions and spaces`],
    ["store: { maxFileSize: 1KiB }\n", "FILE:1: store.maxFileSize: expected a size of 64KiB or more"],
    ["store: { maxFileSize: 9999999TiB }\n", `FILE:1: store.maxFileSize: ${SIZE}; this one is too large`],
    ["shutdown: { grace: 10 }\n", `FILE:1: shutdown.grace: ${TIME}; a number without its unit says too little`],
    ["shutdown: { grace: 10 s }\n", `FILE:1: shutdown.grace: ${TIME}, without fractions and spaces`],
    ["shutdown: { grace: 25d }\n", "FILE:1: shutdown.grace: expected a time from 1ms to 24d"],
    ["shutdown: { grace: 0s }\n", "FILE:1: shutdown.grace: expected a time from 1ms to 24d"],
    ["limits: { requestTimeout: false }\n", `FILE:1: limits.requestTimeout: ${TIME.replace("expected", "expected off or")}; did you mean off?`],
    ["limits: { requestTimeout: 30d }\n", "FILE:1: limits.requestTimeout: expected off or a time from 1ms to 24d"],
    // Addresses, paths, URLs.
    ["listen: 4180\n", `FILE:1: listen: ${ADDRESS}`],
    ["listen: localhost:4180\n", `FILE:1: listen: ${ADDRESS}`],
    ["listen: 1.2.3.4:70000\n", `FILE:1: listen: ${ADDRESS}`],
    ["syslog: { udp: unix:/x }\n", "FILE:1: syslog.udp: expected off or an address: 127.0.0.1:8514 or [::1]:8514"],
    ["syslog: { udp: 1.2.3.4:70000 }\n", "FILE:1: syslog.udp: expected off or an address: 127.0.0.1:8514 or [::1]:8514"],
    ["syslog: { forward: 127.0.0.1:514 }\n", `FILE:1: syslog.forward: ${SERVER}`],
    ["syslog: { forward: tcp://logs.example.com }\n", `FILE:1: syslog.forward: ${SERVER}`],
    ["syslog: { forward: 'tls://a b:1' }\n", `FILE:1: syslog.forward: ${SERVER}`],
    ["syslog: { forward: 'udp://[1.2.3.4]:1' }\n", `FILE:1: syslog.forward: ${SERVER}`],
    ["syslog: { forward: 'tcp://h:70000' }\n", `FILE:1: syslog.forward: ${SERVER}`],
    ["syslog: { job: 'a b' }\n", "FILE:1: syslog.job: expected the name of a job: 1 to 100 letters, digits or signs of ASCII"],
    ["syslog: { maxMessage: 1KiB }\n", "FILE:1: syslog.maxMessage: expected a size from 2KiB to 16MiB"],
    ["syslog: { unix: /x }\n", "FILE:1: syslog.unix: expected off or the address of a Unix socket: unix:/path, at most 107 bytes of path"],
    ["store: { dir: logs }\n", `FILE:1: store.dir: ${PATH}; a relative one would depend on where logveil is started`],
    ["store: { dir: ~/logs }\n", `FILE:1: store.dir: ${PATH}; ~ is not expanded here: write the path out`],
    ["store: { dir: '' }\n", `FILE:1: store.dir: ${PATH}`],
    [`control: { socket: /${"a".repeat(107)} }\n`, "FILE:1: control.socket: expected the absolute path of a socket, at most 107 bytes"],
    ["upstream: { url: logs.example.com }\n", `FILE:1: upstream.url: ${URL}`],
    ["upstream: { url: ftp://logs.example.com }\n", `FILE:1: upstream.url: ${URL}, with http or https`],
    ["upstream: { url: https://u:p@logs.example.com }\n", `FILE:1: upstream.url: ${URL}, without user and password: they would end up in logs`],
    ["upstream: { url: 'https://logs.example.com/#x' }\n", `FILE:1: upstream.url: ${URL}, without #fragment`],
    ["upstream: { url: 'https://logs.example.com/?x' }\n", `FILE:1: upstream.url: ${URL}, without ?query`],
    // Lists and mappings with more in them.
    ["routes: text\n", "FILE:1: routes: expected a list of routes, each a mapping"],
    ["routes:\n  - /a\n", "FILE:2: routes[0]: expected a mapping with path, contentTypes, framing, maskResponses"],
    ["routes:\n  - path: a\n    framing: text\n", "FILE:2: routes[0].path: expected the beginning of a path, such as /api/logs"],
    ["routes:\n  - path: /a\n    framing: jsn\n", "FILE:3: routes[0].framing: expected one of text, json, ndjson, form, octet-stream; did you mean json?"],
    ["routes:\n  - path: /a\n", "FILE:2: routes[0].framing: expected one of text, json, ndjson, form, octet-stream"],
    [
      "routes:\n  - path: /a\n    framing: text\n    contentType: [a/b]\n",
      'FILE:4: routes[0].contentType: unknown field "contentType"; did you mean contentTypes?',
    ],
    [
      "routes: [{ path: /a, framing: text, contentTypes: [json] }]\n",
      "FILE:1: routes[0].contentTypes[0]: expected a content type such as application/json or text/*, in lower case",
    ],
    [
      "secrets: { env: atuo }\n",
      "FILE:1: secrets.env: expected auto, off or a list of names of variables, in which * stands for any characters; did you mean auto?",
    ],
    ["secrets: { env: ['A B'] }\n", "FILE:1: secrets.env[0]: expected the name of a variable"],
    [
      "onFinding: { actions: { low: wran } }\n",
      "FILE:1: onFinding.actions.low: expected one of count, warn, fail-job, webhook, or a list of them; did you mean warn?",
    ],
    ["onFinding: { actions: { low: [wran] } }\n", "FILE:1: onFinding.actions.low[0]: expected one of count, warn, fail-job, webhook; did you mean warn?"],
    ["onFinding: { actions: { low: [] } }\n", "FILE:1: onFinding.actions.low: expected a list of one or more"],
    ["onFinding: { webhook: { url: '***' } }\n", "FILE:1: onFinding.webhook.url: *** stands for a secret that config show does not print: write the real one"],
  ])("%j", (text, message) => expect(problemsOf(text)).toEqual([message]));

  test("bytes that are no text, and too many", () => {
    expect(problemsOf(Buffer.from([0x61, 0xff]))).toEqual(["FILE:1: expected text in UTF-8"]);
    expect(problemsOf("#".repeat(2 ** 20 + 1))).toEqual(["FILE:1: expected a configuration of at most 1 MiB"]);
  });

  test("a bomb of aliases takes no time", () => {
    const levels = Array.from({ length: 30 }, (_, i) => `a${i + 1}: &a${i + 1} [${`*a${i},`.repeat(9)}*a${i}]`);
    const started = performance.now();
    expect(problemsOf(`a0: &a0 [x]\n${levels.join("\n")}\n`)[0]).toBe("FILE:1: anchors (&) and aliases (*) are not taken: write the value out");
    expect(performance.now() - started).toBeLessThan(2000);
  });

  test("a file that is not there", () => {
    expect(() => loadConfig({ env: HOME, file: "/nowhere/logveil.yaml" })).toThrow(
      expect.objectContaining({ code: "LV_IO", message: "/nowhere/logveil.yaml: cannot be read: no such file or folder (ENOENT); check the path" }),
    );
  });
});

test("several errors are all told, those of the file by line, then variables, then flags", () => {
  expect(
    problemsOf("store:\n  maxAge: 5\n  compress: zst\nlisten: 1\nlisten: 2\n", {
      env: { ...HOME, LOGVEIL_LOG_LEVEL: "loud", LOGVEIL_LISTEN: "127.0.0.1:1" },
      flags: { jobs: { maxJobs: 0 }, stor: {}, store: 5 },
    }),
  ).toEqual([
    `FILE:2: store.maxAge: ${TIME}; a number without its unit says too little`,
    "FILE:3: store.compress: expected one of none, zstd; did you mean zstd?",
    `FILE:4: listen: ${ADDRESS}`,
    `FILE:5: listen: said twice, first on line 4`,
    `FILE:5: listen: ${ADDRESS}`,
    "LOGVEIL_LOG_LEVEL: expected one of trace, debug, info, warn, error, fatal, silent",
    'flags: unknown field "stor"; did you mean store?',
    "flags: store: expected a mapping of dir, maxFileSize, maxAge, maxBytes, flushInterval, compress",
    "--jobs-max-jobs: expected a whole number from 1 to 1000000",
  ]);
});

describe("variables", () => {
  test.each<[string, string, string]>([
    ["LOGVEIL_AUTH_TOKEN_FILE", "", "expected path; it is empty: leave it out for the default"],
    ["LOGVEIL_LIMITS_MAX_RATIO", "5x", "expected a whole number from 1 to 1000000"],
    ["LOGVEIL_LIMITS_MAX_RATIO", "0x10", "expected a whole number from 1 to 1000000"],
    ["LOGVEIL_RULES_LEARN", "no", "expected true or false; did you mean false?"],
    ["LOGVEIL_RULES_DISABLE", "jwt,,x", "[1]: expected the id of a rule, or a confidence: low, medium, high, certain"],
    ["LOGVEIL_RULES_POLICY", "low=count", "expected mapping of rule ids or confidences to mask, mask+count or count"],
    ["LOGVEIL_RULES_POLICY", "{low:count}", "expected mapping of rule ids or confidences to mask, mask+count or count, here as JSON"],
    ["LOGVEIL_RULES_POLICY", '{"low":"cont"}', "low: expected one of mask, mask+count, count; did you mean count?"],
    ["LOGVEIL_ROUTES", '[{"path":"/a","framing":"jsn"}]', "[0].framing: expected one of text, json, ndjson, form, octet-stream; did you mean json?"],
    ["LOGVEIL_STORE_MAX_AGE", "30", `${TIME}, without fractions and spaces`],
  ])("%s=%s", (name, value, message) => expect(problemsOf("", { env: { ...HOME, [name]: value } })).toEqual([`${name}: ${message}`]));

  test("a default that the environment makes impossible", () => {
    const message = "control.socket: its default does not fit this environment: expected the absolute path of a socket, at most 107 bytes";
    const env = { XDG_RUNTIME_DIR: `/${"x".repeat(100)}` };
    expect(problemsOf("log: { level: x }", { env })).toEqual(["FILE:1: log.level: expected one of trace, debug, info, warn, error, fatal, silent", message]);
    // It does not matter where the field is said.
    expect(loadText("control: { socket: /run/x.sock }", { env }).config.control.socket).toBe("/run/x.sock");
  });

  test("that look like misspelt ones are warned of; those of others are not", () => {
    const env = { ...HOME, LOGVEIL_STOR_DIR: "x", LOGVEIL_PORT: "tcp://10.0.0.1:80", LOGVEIL_SERVICE_HOST: "10.0.0.1", LOGVEIL_ENGINE: "native" };
    expect(loadText("", { env }).warnings).toEqual(["the variable LOGVEIL_STOR_DIR is none of logveil's; did you mean LOGVEIL_STORE_DIR?"]);
  });
});

describe("what does not go together", () => {
  const key = write("k");
  const WEBHOOK = `webhook: { url: https://x.example/, secretFile: ${key} }`;

  test.each<[string, string[]]>([
    [
      "upstream:\n  url: https://x.example\nstore:\n  maxAge: 1d\n",
      ["FILE:2: upstream.url: masked logs go to the upstream or into the store, not both: leave out upstream.url or store.maxAge"],
    ],
    ["spool:\n  enabled: true\n", ["FILE:2: spool.enabled: there is nothing to wait for without upstream.url: set it, or leave the spool off"]],
    ["tls:\n  cert: /c\n", ["FILE:2: tls.cert: a certificate needs its key: set tls.key"]],
    [`control:\n  tls:\n    key: ${key}\n`, ["FILE:3: control.tls.key: a key needs its certificate: set control.tls.cert"]],
    ["tls:\n  clientCa: /c\n", ["FILE:2: tls.clientCa: certificates of clients need TLS: set tls.cert and tls.key"]],
    [
      "control:\n  tcp: 127.0.0.1:1\n",
      ["FILE:2: control.tcp: the control API over TCP needs certificates of both sides: set control.tls.cert, control.tls.key, control.tls.clientCa"],
    ],
    ["syslog:\n  tls: 127.0.0.1:1\n", ["FILE:2: syslog.tls: syslog over TLS needs a certificate: set tls.cert and tls.key"]],
    [
      "upstream: { url: https://x.example/ }\nsyslog:\n  udp: 127.0.0.1:1\n",
      ["FILE:3: syslog.udp: requests go to upstream.url and nothing is kept here, so messages have nowhere to go: set syslog.forward to a syslog server"],
    ],
    ["syslog:\n  forward: tcp://h:1\n", ["FILE:2: syslog.forward: there is nothing to pass on: set syslog.tcp, syslog.udp, syslog.tls or syslog.unix"]],
    ["syslog: { tcp: 0.0.0.0:1, forward: 'tcp://127.0.0.1:1' }\n", ["FILE:1: syslog.forward: that is syslog.tcp itself: name another server"]],
    [
      "syslog: { tcp: 127.0.0.1:1, forward: 'tcp://h:1', forwardCa: /x }\n",
      ["FILE:1: syslog.forwardCa: authorities need a server with a certificate: set syslog.forward to tls://"],
    ],
    ["onFinding:\n  actions: { low: webhook }\n", ["FILE:2: onFinding.actions: the action webhook needs onFinding.webhook.url"]],
    ["onFinding:\n  webhook: { url: https://x.example/ }\n", ["FILE:2: onFinding.webhook.url: messages are signed: set onFinding.webhook.secretFile"]],
    ["mask:\n  text: x\n", ["FILE:2: mask.text: a mask text goes with the styles fixed and length, not label"]],
    ["mask: { style: length, text: xy }\n", ["FILE:1: mask.text: the text of a length mask must be one printable ASCII character"]],
    [
      "routes:\n  - { path: /a, framing: text, contentTypes: [a/b, c/d] }\n  - { path: /a, framing: json, contentTypes: [c/d] }\n",
      ["FILE:1: routes: routes[1] is never used: routes[0] takes the same path and c/d"],
    ],
    ["listen: 127.0.0.1:1\nsyslog: { tcp: 0.0.0.0:1, udp: 127.0.0.1:1 }\n", ["FILE:2: syslog.tcp: the address 0.0.0.0:1 is taken by listen"]],
    [
      "listen: 127.0.0.1:0\nadmin: { listen: 127.0.0.1:0 }\nstore: { dir: /a }\naudit: { dir: /a/ }\n",
      ["FILE:4: audit.dir: the folder is that of store.dir: each needs one of its own"],
    ],
    ["listen: 127.0.0.1:4181\n", ["admin.listen: the address 127.0.0.1:4181 is taken by listen"]],
    ["auth: { tokenFile: /nowhere }\n", ["FILE:1: auth.tokenFile: /nowhere: cannot be read: no such file or folder (ENOENT); check the path"]],
    [`auth: { tokenFile: ${folder} }\n`, ["FILE:1: auth.tokenFile: DIR: expected a file, not a folder"]],
    // Two at once, in the order of lines and not of checks.
    [
      "syslog:\n  tls: 127.0.0.1:1\nspool: { enabled: true }\n",
      [
        "FILE:2: syslog.tls: syslog over TLS needs a certificate: set tls.cert and tls.key",
        "FILE:3: spool.enabled: there is nothing to wait for without upstream.url: set it, or leave the spool off",
      ],
    ],
  ])("%j", (text, messages) => expect(problemsOf(text)).toEqual(messages));

  test("is told by variable or flag where one said it", () => {
    const message = "there is nothing to wait for without upstream.url: set it, or leave the spool off";
    expect(problemsOf("", { env: { ...HOME, LOGVEIL_SPOOL_ENABLED: "true" } })).toEqual([`LOGVEIL_SPOOL_ENABLED: ${message}`]);
    expect(problemsOf("", { flags: { spool: { enabled: true } } })).toEqual([`--spool-enabled: ${message}`]);
  });

  test("files of tokens, keys and secrets that every user may read", () => {
    const open = write("t");
    chmodSync(open, 0o644);
    const said = `${open.replace(folder, "DIR")} can be read by every user (mode 0644): chmod o-rwx it`;
    expect(problemsOf(`auth:\n  tokenFile: ${open}\nsecrets:\n  files: [${key}, ${open}]\n`)).toEqual([
      `FILE:2: auth.tokenFile: ${said}`,
      `FILE:4: secrets.files: ${said}`,
    ]);
    chmodSync(open, 0o640);
    expect(loadText(`auth: { tokenFile: ${open} }`).config.auth.tokenFile).toBe(open);
  });

  test("what goes together is taken", () => {
    const tls = `{ cert: /c, key: ${key}, clientCa: /d }`;
    const text = `tls: ${tls}\ncontrol: { tcp: 127.0.0.1:9, tls: ${tls} }\nsyslog: { tls: 127.0.0.1:1, udp: 127.0.0.1:1, forward: 'tls://[::1]:1', forwardCa: /e }\nupstream: { url: https://x.example/ }\nonFinding: { actions: { low: webhook }, ${WEBHOOK} }\nmask: { style: fixed, text: x }\n`;
    expect(loadText(text).warnings).toEqual([]);
  });

  test("a credential in a file that every user may read is warned of", () => {
    const file = write(`onFinding:\n  ${WEBHOOK}\n`);
    expect(loadConfig({ env: HOME, file }).warnings).toEqual([]);
    chmodSync(file, 0o644);
    const message = "onFinding.webhook.url: a credential in a file that every user can read: chmod o-rwx";
    expect(loadConfig({ env: HOME, file }).warnings).toEqual([`${file}:2: ${message} ${file}`]);
    expect(loadConfig({ env: { ...HOME, LOGVEIL_ON_FINDING_WEBHOOK_URL: "https://x.example/b" }, file }).warnings).toEqual([]);
  });

  test("what other hosts reach is warned of", () => {
    expect(loadText("listen: 0.0.0.0:1\nadmin: { listen: '[::]:2' }\n").warnings.map((line) => line.replace(/^.*\.yaml/, "FILE"))).toEqual([
      "FILE:1: listen: other hosts can send logs: neither auth.tokenFile nor tls.clientCa keeps them out",
      "FILE:1: listen: unmasked logs and tokens come in as cleartext from other hosts: set tls.cert and tls.key",
      "FILE:2: admin.listen: other hosts can read health and metrics",
    ]);
    const text = `tls: { cert: /c, key: ${key} }\nsyslog:\n  tcp: 127.0.0.1:1\n  udp: 0.0.0.0:1\n  tls: "[::]:2"\n`;
    expect(loadText(text).warnings.map((line) => line.replace(/^.*\.yaml/, "FILE"))).toEqual([
      "FILE:4: syslog.udp: unmasked messages come in as cleartext from other hosts: have them use syslog.tls",
      "FILE:5: syslog.tls: other hosts can send messages: set tls.clientCa to keep them out",
    ]);
  });
});

test("rules that do not exist", () => {
  const loaded = loadText("rules:\n  disable: [jwtt]\n  policy: { hgh: count, jwt: count, low: count }\nonFinding: { actions: { xxxxxxxxxxxxxxxx: warn } }\n");
  try {
    checkRules(loaded);
    expect.unreachable();
  } catch (error) {
    expect((error as LogveilError).message.replaceAll(loaded.sources.file!, "FILE").split("\n")).toEqual([
      "3 errors in the configuration:",
      "FILE:2: rules.disable: there is no rule jwtt; did you mean jwt?",
      "FILE:3: rules.policy: there is no rule hgh; did you mean high?",
      'FILE:4: onFinding.actions: there is no rule xxxxxxxxxxxxxxxx; "logveil rules list" names them',
    ]);
  }
  expect(checkRules(loadText("rules: { disable: [jwt], policy: { low: count } }\nonFinding: { actions: { github-token: warn } }"))).toEqual([]);
});

test("actions for rules that are left out", () => {
  const loaded = loadText(
    "rules:\n  disable: [jwt]\n  minConfidence: certain\nonFinding: { actions: { jwt: fail-job, password-assignment: warn, high: warn } }\n",
  );
  expect(checkRules(loaded).map((line) => line.replace(loaded.sources.file!, "FILE"))).toEqual([
    "FILE:4: onFinding.actions: the rule jwt is left out by rules.disable, so nothing is done about what it would find",
    "FILE:4: onFinding.actions: the rule password-assignment is left out by rules.minConfidence, so nothing is done about what it would find",
  ]);
});

test("no error quotes a value, wherever it stands", () => {
  const secret = "hunter2hunter2hunter2hunter2hunter2x";
  const places = [
    secret, `${secret}: x`, `listen: ${secret}`, `store: ${secret}`, `store: { ${secret}: 1 }`, `store: { maxAge: ${secret} }`, `rules: { policy: { ${secret}: x } }`,
    `rules: { policy: { low: ${secret} } }`, `rules: { disable: ["${secret} "] }`, `routes: [{ ${secret}: 1, path: ${secret}, framing: ${secret} }]`, `log: *${secret}`,
    `log: !${secret} x`, `log: "${secret}`, `log: &${secret} x`, `upstream: { url: "https://u:${secret}@x" }`, `secrets: { env: ${secret}- }`, `${secret}: 1\n${secret}: 2`,
  ]; // prettier-ignore
  for (const place of places) expect(problemsOf(place).join("\n").toLowerCase(), place).not.toContain("hunter2");
  expect(problemsOf("", { env: { ...HOME, LOGVEIL_ROUTES: `[${secret}` } }).join("\n")).not.toContain("hunter2");
});
