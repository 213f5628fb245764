/** Integrity headers: vectors of the RFCs, what is refused, and that what comes out fits the body that leaves. */
import { createHash } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type HeaderFields, integrityFields, planIntegrity } from "../../src/codec/integrity.js";
import { cut } from "../support/redactor.js";

const fieldsOver = (headers: HeaderFields, chunks: readonly Uint8Array[]): Record<string, string> => {
  const digests = planIntegrity(headers).open();
  for (const chunk of chunks) digests.update(chunk);
  return digests.fields(headers);
};

const HELLO = Buffer.from('{"hello": "world"}\n');

test.each([
  // RFC 9530, appendix D
  ["content-digest", "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:", HELLO],
  ["repr-digest", "sha-512=:YMAam51Jz/jOATT6/zvHrLVgOYTGFy1d6GJiOHTohq4yP+pgk4vf2aCsyRZOtw8MjkM7iw7yZ/WkppmM44T3qg==:", HELLO],
  // RFC 1321, A.5
  ["content-md5", Buffer.from("900150983cd24fb0d6963f7d28e17f72", "hex").toString("base64"), Buffer.from("abc")],
  ["digest", `MD5=${Buffer.from("900150983cd24fb0d6963f7d28e17f72", "hex").toString("base64")}`, Buffer.from("abc")],
  // RFC 3174, 7.3; FIPS 180-2, B.1
  ["digest", `sha=${Buffer.from("a9993e364706816aba3e25717850c26c9cd0d89d", "hex").toString("base64")}`, Buffer.from("abc")],
  ["x-amz-checksum-sha1", Buffer.from("a9993e364706816aba3e25717850c26c9cd0d89d", "hex").toString("base64"), Buffer.from("abc")],
  ["x-amz-checksum-sha256", "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=", Buffer.from("abc")],
  // RFC 3720, B.4, and the usual check values
  ["x-amz-checksum-crc32c", Buffer.from("8a9136aa", "hex").toString("base64"), Buffer.alloc(32)],
  ["x-amz-checksum-crc32c", Buffer.from("e3069283", "hex").toString("base64"), Buffer.from("123456789")],
  ["x-amz-checksum-crc32", Buffer.from("cbf43926", "hex").toString("base64"), Buffer.from("123456789")],
])("%s of a known body is %s", (field, value, body) => {
  const plan = planIntegrity({ [field]: value });
  expect(plan.given).toEqual({ [field]: value });
  expect(fieldsOver({ [field]: value }, [body])).toEqual({ [field]: value });
  expect(fieldsOver({ [field]: value }, [body, Buffer.from("!")])).not.toEqual({ [field]: value });
});

test("lists keep their order and names, over any number of lines; every field comes anew", () => {
  const digest = (name: string, body: Buffer): string => createHash(name).update(body).digest("base64");
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.array(fc.nat(300), { maxLength: 4 }), (bytes, cuts) => {
      const body = Buffer.from(bytes);
      const chunks = cut(
        body,
        cuts.map((at) => at % (body.length + 1)),
      );
      const headers = {
        "content-digest": ["sha-512=:AAAA:", "sha-256=:BBBB:"],
        digest: "SHA-256=x,MD5=y",
        "content-md5": "z",
        "content-type": "text/plain",
        "x-amz-checksum-algorithm": "SHA256",
      };
      expect(planIntegrity(headers).given).toEqual({ "content-digest": "sha-512=:AAAA:, sha-256=:BBBB:", digest: "SHA-256=x, MD5=y", "content-md5": "z" });
      expect(fieldsOver(headers, chunks)).toEqual({
        "content-digest": `sha-512=:${digest("sha512", body)}:, sha-256=:${digest("sha256", body)}:`,
        digest: `SHA-256=${digest("sha256", body)}, MD5=${digest("md5", body)}`,
        "content-md5": digest("md5", body),
      });
    }),
    { numRuns: 50 },
  );
});

const SIGNED = "AWS4-HMAC-SHA256 Credential=K/20261121/eu/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=00";

test.each([
  [{ "x-amz-checksum-crc64nvme": "AA==" }, "x-amz-checksum-crc64nvme"],
  [{ "x-amz-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }, "x-amz-content-sha256"],
  [{ "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER" }, "x-amz-content-sha256"],
  [{ "x-amz-trailer": "x-amz-checksum-crc32" }, "x-amz-trailer"],
  [{ signature: "sig1=:AA==:" }, "signature"],
  [{ "signature-input": 'sig1=("content-digest")' }, "signature-input"],
  [{ authorization: 'Signature keyId="k"' }, "authorization"],
  [{ authorization: SIGNED }, "authorization"],
  [{ authorization: SIGNED.replace("=host", "=content-length;host"), "x-amz-content-sha256": "UNSIGNED-PAYLOAD" }, "authorization"],
  [{ authorization: SIGNED.replace("=host", "=content-md5;host"), "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "content-md5": "A" }, "authorization"],
  [{ digest: "adler32=03da0195" }, "digest"],
  [{ digest: "SHA-256" }, "digest"],
  [{ "content-digest": "sha-256=RK/0" }, "content-digest"],
  [{ "content-digest": "sha-256=:" }, "content-digest"],
  [{ "content-digest": "unixsum=:AA==:" }, "content-digest"],
  [{ "content-digest": "" }, "content-digest"],
  [{ "repr-digest": "sha-256=:AA==:", "content-range": "bytes 0-4/10" }, "content-range"],
  [{ trailer: "X-Own, Signature" }, "trailer"],
  [{ trailer: "x-amz-checksum-crc64nvme" }, "trailer"],
] as readonly (readonly [HeaderFields, string])[])("refuses %j", (headers, header) => {
  expect(() => planIntegrity(headers)).toThrow(expect.objectContaining({ code: "LV_INTEGRITY", facts: { header } }) as Error);
});

test("lets through what vouches for nothing that changes", () => {
  for (const headers of [{}, { authorization: "Bearer x" }, { authorization: SIGNED, "x-amz-content-sha256": "UNSIGNED-PAYLOAD" }, { trailer: "X-Own" }])
    expect(planIntegrity(headers).given).toEqual({});
});

test("announced trailers are computed whatever they turn out to hold, others are not", () => {
  const plan = planIntegrity({ trailer: "X-Own, Content-Digest, x-amz-checksum-crc32" });
  expect([plan.given, plan.trailers]).toEqual([{}, ["content-digest", "x-amz-checksum-crc32"]]);
  const digests = plan.open();
  digests.update(Buffer.from("123456789"));
  const like = { "content-digest": "sha-512=:AAAA:,  md5=:BBBB:", "x-amz-checksum-crc32": "x", "x-own": "y" };
  const digest = (name: string): string => createHash(name).update("123456789").digest("base64");
  expect(digests.fields(like)).toEqual({
    "content-digest": `sha-512=:${digest("sha512")}:, md5=:${digest("md5")}:`,
    "x-amz-checksum-crc32": Buffer.from("cbf43926", "hex").toString("base64"),
  });
  expect(integrityFields(like)).toEqual({ "content-digest": "sha-512=:AAAA:, md5=:BBBB:", "x-amz-checksum-crc32": "x" });
  expect(() => digests.fields({ "x-amz-checksum-crc32c": "x" })).toThrow(expect.objectContaining({ code: "LV_INTEGRITY" }) as Error);
});
