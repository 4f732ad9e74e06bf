// What the tests of functions in Python have in common.
//
// DORMOUSE_PYTHON_ROOT   a file system with another Python, by which they run instead of the host's
import assert from "node:assert/strict";
import { Platform, roots } from "./platform.mjs";

export const pythonIn = (root, name, { ours = `${roots}/host/opt/dormouse`, more = "" } = {}) => `  ${name}:
    root: ${root}
    argv: [/opt/dormouse/init, /usr/bin/python3, -I, -S, -B, /opt/dormouse/python/worker.py]
    binds: [{ source: ${ours}, target: /opt/dormouse }${more}]
    forks: true
    reports: true
    loopback: true
    blanks: 0
`;

const binds = ["/usr", "/etc/alternatives"].map((folder) => `, { source: ${folder}, target: ${folder} }`);
export const ofTheHost = binds.join("");

export const startPlatform = (config = "") => {
  const other = process.env.DORMOUSE_PYTHON_ROOT;
  return Platform.start({ config: config + (other ? pythonIn(other, "python") : "") });
};

export async function deployPython(platform, name, code, more = {}, files = {}) {
  const manifest = { name, runtime: "python", handler: "app.handler", memory: "128MiB", ...more };
  const done = await platform.deploy(manifest, { "app.py": code, ...files });
  assert.equal(done.code, 0, done.stderr);
  return (await platform.json("show", name)).function;
}

// A fork of its own for each call, unless that comes right after another one.
export const apart = { keep_alive: "0ms", max_instances: 4 };
