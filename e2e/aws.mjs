// AWS's own clients for Lambda, unmodified, pointed at a platform; and zips to deploy with them.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";
import zlib from "node:zlib";
import { Platform, repository } from "./platform.mjs";

const deps = process.env.DORMOUSE_DEPS ?? path.join(repository, ".deps");
export const aws = createRequire(path.join(deps, "clients/package.json"))("@aws-sdk/client-lambda");

// A platform with a key that signs; `credentials` are what clients are given.
export async function startSigned(options) {
  const platform = new Platform(options);
  const file = path.join(platform.dir, "keys");
  const made = await platform.cliAlone("key", "new", "--aws", "--file", file, "--json");
  assert.equal(made.code, 0, made.stderr);
  const { key, aws_access_key_id, aws_secret_access_key } = JSON.parse(made.stdout);
  platform.credentials = { accessKeyId: aws_access_key_id, secretAccessKey: aws_secret_access_key };
  platform.options.env = { DORMOUSE_KEY: key };
  platform.options.args = ["--key-file", file];
  await platform.serve();
  return platform;
}

export function client(platform, more = {}) {
  const { url: endpoint, credentials } = platform;
  return new aws.LambdaClient({ endpoint, region: "eu-west-1", credentials, maxAttempts: 1, ...more });
}

export const utf8 = (bytes) => Buffer.from(bytes).toString();

// What a call that must fail fails with: the exception's class, its status and its message.
export async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    return [error.name, error.$metadata?.httpStatusCode, error.message];
  }
  assert.fail("it was not refused");
}

// A zip of these files, by path: a text, or {content, mode, name} with anything hostile in it.
export function zip(files) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const [key, file] of Object.entries(files)) {
    const { content = file, mode = 0o100644, name = key, size } = typeof file === "string" ? {} : file;
    const raw = Buffer.from(content);
    const packed = zlib.deflateRawSync(raw);
    const middle = Buffer.alloc(26);
    middle.writeUInt16LE(20, 0);
    middle.writeUInt16LE(0x800, 2); // Names are UTF-8.
    middle.writeUInt16LE(8, 4);
    middle.writeUInt32LE(zlib.crc32(raw), 10);
    middle.writeUInt32LE(packed.length, 14);
    middle.writeUInt32LE(size ?? raw.length, 18);
    middle.writeUInt16LE(Buffer.byteLength(name), 22);
    const local = Buffer.concat([Buffer.from("PK\x03\x04"), middle, Buffer.from(name), packed]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE((mode << 16) >>> 0, 6);
    tail.writeUInt32LE(offset, 10);
    directory.push(Buffer.concat([Buffer.from("PK\x01\x02"), Buffer.from([20, 3]), middle, tail, Buffer.from(name)]));
    parts.push(local);
    offset += local.length;
  }
  const listing = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", "latin1");
  end.writeUInt16LE(directory.length, 8);
  end.writeUInt16LE(directory.length, 10);
  end.writeUInt32LE(listing.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, listing, end]);
}
