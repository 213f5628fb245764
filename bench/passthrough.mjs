/** The sidecar's proxy with masking off, for comparison only: the same server, forwarding and codings, a channel that answers what it gets. `node passthrough.mjs UPSTREAM_URL`; prints its port. */
import { setFlagsFromString } from "node:v8";
import { serveRoutes } from "../dist/sidecar/http.js";
import { Upstream } from "../dist/sidecar/proxy.js";

// As the sidecar has it.
setFlagsFromString("--heap-growing-percent=200");
const unmasked = () => ({ offset: 0, heldBytes: 0, settled: 0, name: "", push: (chunk) => [chunk], idle: () => [], end: () => [], close: () => undefined });
const untold = { input: () => undefined, output: () => undefined, check: () => undefined, end: () => undefined };
const upstream = new Upstream({ url: process.argv[2], connectTimeoutMs: 5000, headersTimeoutMs: 30_000, bodyTimeoutMs: 60_000, maxConnections: 4096 }, [], {
  holdBackMs: 500,
  decode: {},
  open: () => ({ account: untold, open: unmasked }),
  maxHeldBytes: 8 << 20,
  settled: async () => undefined,
});
const failed = (error) => console.error(String(error));
const limits = { headersTimeoutMs: 10_000, idleTimeoutMs: 600_000, maxConnections: 12_000 };
const { server } = serveRoutes([], { limits, failed, otherwise: (request, response) => upstream.forward(request, response) });
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
