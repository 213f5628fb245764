/** Makes docs/configuration.md from the fields of the configuration. `node scripts/docs.mjs` writes it; with `--print` it goes to stdout. Needs a build. */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { isGroup, ROOT } from "../dist/config/fields.js";

const HEAD = `# Configuration of the sidecar

Made from [src/config/schema.ts](../src/config/schema.ts) by \`node scripts/docs.mjs\`: change it there.

A value comes from the first of these that says it: a **flag**, a **variable** of the environment, the **file**, the **default**. \`logveil config show --origin\` prints every
effective value with its origin, \`logveil config check FILE\` everything that is wrong with a file, \`logveil config schema\` a JSON schema for editors.

The file is \`--config FILE\`, else the first that exists of \`$XDG_CONFIG_HOME/logveil/logveil.yaml\` (\`~/.config\` without that variable) and \`/etc/logveil/logveil.yaml\`. It is YAML 1.2 without
anchors, aliases and tags; what stands below as \`store.maxAge\` is written so:

\`\`\`yaml
store:
  maxAge: 7d
\`\`\`

| form | written | |
|---|---|---|
| size | \`64MiB\` | whole numbers with \`B\` \`KiB\` \`MiB\` \`GiB\` \`TiB\`; a number alone is refused |
| time | \`250ms\` \`5s\` \`10m\` | whole numbers with \`ms\` \`s\` \`m\` \`h\` \`d\`; a number alone is refused |
| address | \`127.0.0.1:8514\` \`[::1]:8514\` \`unix:/path\` | no names of hosts |
| server | \`tcp://127.0.0.1:514\` \`udp://[::1]:514\` \`tls://logs.example.com:6514\` | names of hosts too |
| path | \`/var/lib/logveil\` | absolute |
| list | \`[a, b]\` | in a variable \`a,b\` or JSON |
| mapping | \`{ low: count }\` | in a variable JSON |

Every field has a variable and a flag of its own. An empty variable is an error. Fields that hold credentials are shown as \`***\`; tokens and keys stand in files of their own, which no other user may read.
`;

const cell = (text) => text.replaceAll("|", "\\|");

/** A default as it is written; those that depend on the environment are told by their description. */
function fallback(field) {
  const value = field.fallback({});
  if (field.fallback({ HOME: "/home", XDG_RUNTIME_DIR: "/run/user" }) !== value) return "see there";
  return value === undefined ? "none" : `\`${typeof value === "string" ? value : JSON.stringify(value)}\``;
}

const row = (field) =>
  `| \`${field.path}\` | ${cell(field.form)} | ${fallback(field)} | ${cell(field.description)}${field.secret ? ". Shown as `***`" : ""} | \`${field.env}\` \`${field.flag}\` |`;

const rows = (group) => [...group.members.values()].flatMap((member) => (isGroup(member) ? rows(member) : [row(member)]));

const TABLE = ["| field | form | default | meaning | variable, flag |", "|---|---|---|---|---|"];

const sections = [...ROOT.members].flatMap(([key, member]) => {
  const body = isGroup(member) ? rows(member) : [row(member)];
  return ["", `## ${key}`, "", ...(isGroup(member) ? [`${member.description}.`, ""] : []), ...TABLE, ...body];
});

const page = `${HEAD}${sections.join("\n")}\n`;
if (process.argv.includes("--print")) process.stdout.write(page);
else writeFileSync(fileURLToPath(new URL("../docs/configuration.md", import.meta.url)), page);
