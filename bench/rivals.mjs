/** Other ways to mask, as CI systems and plugins do it: raw values only. Each answers how many it found; undefined where it only copies. */

const escape = (value) => value.replace(/[.*+?^${}()|[\]\\-]/g, "\\$&");

export async function rivals() {
  const rows = [
    { name: "pass-through (copy)", prepare: () => (text) => void Buffer.from(text) },
    {
      name: "indexOf per secret",
      prepare: (values) => (text) => {
        let found = 0;
        for (const value of values) for (let at = text.indexOf(value); at >= 0; at = text.indexOf(value, at + 1)) found++;
        return found;
      },
    },
    {
      name: "replaceAll loop",
      prepare: (values) => (text) => {
        let rest = text.latin1Slice();
        for (const value of values) rest = rest.replaceAll(value, "\u0000");
        return rest.split("\u0000").length - text.latin1Slice().split("\u0000").length;
      },
    },
    {
      name: "V8 alternation",
      prepare: (values) => {
        const pattern = new RegExp(values.map(escape).join("|"), "g");
        return (text) => (text.latin1Slice().match(pattern) ?? []).length;
      },
    },
  ];
  try {
    const { default: RE2 } = await import("re2");
    rows.push({
      name: "re2 alternation",
      prepare: (values) => {
        const pattern = new RE2(values.map(escape).join("|"), "g");
        return (text) => (pattern.match(text.latin1Slice()) ?? []).length;
      },
    });
  } catch {
    console.log("re2 is not installed: its alternation is left out");
  }
  return rows;
}
