// Z7: of each kind of function one worker is killed every second, and only what was in it fails. Two
// kinds at once, each with a daemon of its own; with DORMOUSE_NIGHTLY=1 two others after them.
import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { deployForked, json, sleepy } from "./forked.mjs";
import { outliveKills } from "./load.mjs";
import { Platform } from "./platform.mjs";

// Calls go to the one that was used last, so that of so many few kills meet one.
const several = { min_instances: 32, max_instances: 36, concurrency: 1 };

// Sleeps for the milliseconds that it is sent.
const handler = `export const handler = (ms) => new Promise((resolve) => setTimeout(() => resolve(ms), ms));`;
const server = `import { createServer } from "node:http";
createServer(async (request, response) => {
  let body = "";
  for await (const part of request) body += part;
  setTimeout(() => response.end(body), Number(body));
}).listen(process.env.PORT);
`;

async function deployNode(platform, fields, code) {
  const done = await platform.deploy({ name: "f", memory: "128MiB", ...several, ...fields }, { "app.mjs": code });
  assert.equal(done.code, 0, done.stderr);
}

// The workers with these words in their command line. Also blank ones, which are not handed out
// when they are dead.
const workers = (platform, words) => platform.inSandboxes().filter((pid) => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").includes(words);
  } catch {
    return false; // It went meanwhile.
  }
});

const kinds = {
  "started, four calls at a time in each": {
    deploy: (platform) => platform.deployProbe("f", { ...several, concurrency: 4 }),
    candidates: (platform) => platform.processes(),
    call: (platform, ms) => platform.invoke("f", `sleep ${ms}`),
    seen: true,
  },
  forked: {
    deploy: (platform) => deployForked(platform, "f", sleepy, several),
    candidates: (platform) => platform.forks(), // Also those that wait to be an instance.
    seen: true,
  },
  "in Node": {
    deploy: (platform) => deployNode(platform, { runtime: "node", handler: "app.handler" }, handler),
    candidates: (platform) => workers(platform, "node/worker.mjs"),
  },
  "an HTTP server": {
    deploy: (platform) => deployNode(platform, { runtime: "web", command: ["node", "app.mjs"] }, server),
    candidates: (platform) => workers(platform, "node app.mjs"),
  },
};

describe("Z7: a worker killed every second costs only the calls in it", { concurrency: 2 }, () => {
  for (const [name, { deploy, candidates, call, seen = false }] of Object.entries(kinds)) {
    const skip = !seen && !process.env.DORMOUSE_NIGHTLY && "it takes a minute: with DORMOUSE_NIGHTLY=1";
    test(`functions that are ${name}`, { skip }, async () => {
      const platform = await Platform.start({ blanks: 3 });
      await deploy(platform);
      const calling = call ?? ((_, ms) => platform.invoke("f", `${ms}`, json));
      await outliveKills(() => candidates(platform), {
        quick: () => calling(platform, 0),
        long: () => calling(platform, 5000),
      });
      await platform.stop({ seen });
    });
  }
});
