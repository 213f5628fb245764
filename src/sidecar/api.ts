/** The sidecar's own API: logs come in stream by stream, and masked ones are read back. */
import { pipeline } from "node:stream/promises";
import type { Call, Route } from "./http.js";
import type { DecodeLimits } from "../codec/layers.js";
import { isHttp2 } from "./answers.js";
import { decodedBody } from "./decoded.js";
import { json, leave } from "./http.js";
import type { JobStream } from "./job-stream.js";
import type { Jobs } from "./jobs.js";
import { Refusal } from "./refusal.js";
import { isName } from "./store.js";

/** What is kept: a promise. */
const OFFSET = "logveil-offset";
/** What was received: who goes on there sends nothing twice, and must send it once more if the sidecar is lost before it is kept. */
const RECEIVED = "logveil-received";

interface Names {
  readonly job: string;
  readonly stream: string;
}

/** Who may write and read what. */
export interface Access {
  /** Throws a {@link Refusal} for a request that may not do this with a job. */
  check(call: Call, job: string): void;
  /** The same as an answer. */
  may(call: Call, job: string): boolean;
  /** Throws a {@link Refusal} for a request that has nothing to show where something is needed. */
  checkSome(call: Call): void;
}

/** What writes is refused where `check` throws: `POST` a piece of a stream, `POST …/end`, `GET` and `HEAD` it, and what there is. */
export function apiRoutes(jobs: Jobs, access: Access, check: (job: string) => void, decode: Partial<DecodeLimits> = {}): Route[] {
  const named = (call: Call): Names => {
    const { job = "", stream = "" } = call.params;
    if (!isName(job) || !isName(stream)) throw new Refusal(400, "names of jobs and streams have 1 to 100 bytes of UTF-8 without control characters");
    access.check(call, job);
    if (call.request.method === "POST") check(job);
    return { job, stream };
  };
  const path = "/v1/jobs/:job/streams/:stream";
  return [
    { method: "POST", path, handle: (call) => receive(call, jobs, named(call), decode) },
    {
      method: "POST",
      path: `${path}/end`,
      async handle(call) {
        const { job, stream: name } = named(call);
        const stream = await jobs.opened(job, name);
        leave(call.request, call.response);
        call.request.resume();
        stream.expect(offsetOf(call.request.headers[OFFSET]));
        await stream.end();
        answerOffset(call, stream);
      },
    },
    { method: "GET", path, handle: (call) => send(call, jobs, named(call)) },
    {
      method: "HEAD",
      path,
      async handle(call) {
        const { job, stream } = named(call);
        if (jobs.live(job, stream) === undefined && (await jobs.store.read(job, stream, 0)) === undefined) throw new Refusal(404, "there is no such stream");
        const { position, received } = await jobs.opened(job, stream);
        call.response.writeHead(200, { [OFFSET]: String(position.input), [RECEIVED]: String(received) }).end();
      },
    },
    {
      method: "GET",
      path: "/v1/jobs",
      async handle(call) {
        access.checkSome(call);
        const all = await jobs.store.jobs();
        json(call.response, 200, { jobs: all.filter(({ job }) => access.may(call, job)) });
      },
    },
    {
      method: "GET",
      path: "/v1/jobs/:job",
      async handle(call) {
        const job = call.params["job"]!;
        access.check(call, job);
        const info = isName(job) ? await jobs.store.info(job) : undefined;
        if (info === undefined) throw new Refusal(404, "there is no such job");
        json(call.response, 200, info);
      },
    },
  ];
}

/** Takes a body as it comes, without its content codings: offsets are those of what it decodes to; answers when what was let go of it is durable. */
async function receive(call: Call, jobs: Jobs, { job, stream: name }: Names, limits: Partial<DecodeLimits>): Promise<void> {
  const { request, response } = call;
  const body = decodedBody(request, limits);
  const offset = offsetOf(request.headers[OFFSET]);
  const stream = await jobs.stream(job, name);
  const writer = stream.claim(offset);
  try {
    leave(request, response);
    for await (const chunk of body) await stream.write(writer, chunk);
    await stream.commit();
  } finally {
    stream.release(writer);
  }
  answerOffset(call, stream);
}

function offsetOf(header: string | string[] | undefined): number | undefined {
  if (header === undefined) return undefined;
  const offset = Number(header);
  if (typeof header !== "string" || !/^\d{1,16}$/.test(header) || !Number.isSafeInteger(offset))
    throw new Refusal(400, "Logveil-Offset: expected a number of bytes");
  return offset;
}

/** `Logveil-Offset` is what is kept: bytes from there on were taken, and are to be sent again only if the sidecar is lost before a later answer. */
function answerOffset({ response }: Call, stream: JobStream): void {
  json(response, 200, { offset: stream.position.input, received: stream.received }, { [OFFSET]: String(stream.position.input) });
}

async function send({ request, response, query }: Call, jobs: Jobs, { job, stream }: Names): Promise<void> {
  const from = Number(query.get("from") ?? "0");
  if (!Number.isSafeInteger(from) || from < 0) throw new Refusal(400, "from: expected a number of bytes");
  const follow = ["1", "true"].includes(query.get("follow") ?? "");
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  // A client that is gone looks as one that has said all it had to say: who follows must stay.
  if (follow && !isHttp2(request)) request.socket.once("end", () => gone.abort());
  const bytes = (await jobs.live(job, stream))?.read(from, follow, gone.signal) ?? (await jobs.store.read(job, stream, from));
  if (bytes === undefined) throw new Refusal(404, "there is no such stream");
  response.writeHead(200, { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store", "x-content-type-options": "nosniff" });
  response.flushHeaders();
  await pipeline(bytes, response);
}
