// A network to test in: this process is in a namespace of its own, which plays the host, and a
// second one is the world, with addresses that are public, private and the link's. Needs root.
import { execFileSync, spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { eventually } from "./platform.mjs";

export const theWorlds = "203.0.113.7"; // Set aside for documentation: nobody has it.
export const anotherOfTheWorld = "198.51.100.9";
export const ofAPrivateNetwork = "10.77.0.7";
export const ofTheLink = "169.254.169.254";
export const theHosts = "203.0.113.1";

const inside = "DORMOUSE_TEST_NETWORK";
export const isInside = Boolean(process.env[inside]);

// Runs this test file again, where network and mounts are its own. Throws if it fails there.
export function runInside(file) {
  const env = { ...process.env, [inside]: "1" };
  delete env.NODE_TEST_CONTEXT; // Its results are not for the runner outside.
  execFileSync("unshare", ["--net", "--mount", process.execPath, file], { env, stdio: "inherit" });
}

export const ip = (...words) => execFileSync("ip", words, { encoding: "utf8" });
export const nft = (...words) => execFileSync("nft", words, { encoding: "utf8" });

// What lives in the world: a web server at every address, on two ports, that says whom it heard
// and keeps count; and a nameserver, whose answers may change with each question.
const program = `
const http = require("node:http"), dgram = require("node:dgram");
const zone = JSON.parse(process.argv[1]), heard = {};
for (const port of [80, 8443]) http.createServer((request, response) => {
  const at = request.socket.localAddress;
  if (request.url === "/heard") return response.end(JSON.stringify(heard));
  heard[at] = (heard[at] ?? 0) + 1;
  response.end(at + " heard " + request.socket.remoteAddress);
}).listen(port, "0.0.0.0");
const names = dgram.createSocket("udp4");
names.on("message", (question, from) => {
  let name = "", at = 12;
  for (; question[at] > 0; at += question[at] + 1) {
    name += (name && ".") + question.toString("latin1", at + 1, at + 1 + question[at]);
  }
  const end = at + 5, isA = question.readUInt16BE(at + 1) === 1;
  const addresses = zone[name], address = addresses?.length > 1 ? addresses.shift() : addresses?.[0];
  const answer = Buffer.concat([question.subarray(0, end)]);
  answer.writeUInt16BE(address ? 0x8180 : 0x8183, 2);
  answer.writeUInt16BE(address && isA ? 1 : 0, 6);
  answer.writeUInt16BE(0, 10);
  const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, ...(address ?? "").split(".").map(Number)]);
  names.send(address && isA ? Buffer.concat([answer, record]) : answer, from.port, from.address);
}).bind(53, "0.0.0.0", () => console.log("up"));
`;

// Makes the host's interfaces, and the world beyond. `zone`: what the nameserver answers, by name.
export async function makeWorld(zone) {
  const dir = mkdtempSync(path.join(tmpdir(), "dormouse-world-"));
  const resolver = path.join(dir, "resolv.conf");
  writeFileSync(resolver, `nameserver ${theWorlds}\n`);
  execFileSync("mount", ["--bind", resolver, "/etc/resolv.conf"]);
  const words = ["--net", process.execPath, "-e", program, JSON.stringify(zone)];
  const world = spawn("unshare", words, { stdio: ["ignore", "pipe", "inherit"] });
  process.once("exit", () => world.kill("SIGKILL"));
  let said = "";
  world.stdout.on("data", (text) => (said += text));
  await eventually("the world", () => said.includes("up"));
  const there = (...more) => execFileSync("nsenter", [`--net=/proc/${world.pid}/ns/net`, ...more], { encoding: "utf8" });
  ip("link", "set", "lo", "up");
  ip("link", "add", "eth0", "type", "veth", "peer", "name", "w0", "netns", String(world.pid));
  for (const address of [`${theHosts}/24`, "10.77.0.1/24"]) ip("addr", "add", address, "dev", "eth0");
  ip("link", "set", "eth0", "up");
  there("ip", "link", "set", "lo", "up");
  for (const each of [theWorlds, ofAPrivateNetwork]) there("ip", "addr", "add", `${each}/24`, "dev", "w0");
  for (const each of [ofTheLink, anotherOfTheWorld]) there("ip", "addr", "add", `${each}/32`, "dev", "w0");
  there("ip", "link", "set", "w0", "up");
  there("ip", "route", "add", "198.18.0.0/15", "via", theHosts); // As a neighbour who tries would.
  ip("route", "add", "default", "via", theWorlds);
  forward(true);
  return {
    there,
    heard: () => JSON.parse(there("curl", "-s", `http://${theWorlds}/heard`)),
    end: () => world.kill("SIGKILL"),
  };
}

// Whether the host passes on what is not its own.
export function forward(on) {
  const file = openSync("/proc/sys/net/ipv4/ip_forward", "w");
  writeFileSync(file, on ? "1" : "0");
  closeSync(file);
}

// Whether a process in one of the platform's sandboxes listens there.
export function listens(platform, port) {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  return platform.inSandboxes().some((pid) => {
    try {
      return readFileSync(`/proc/${pid}/net/tcp`, "utf8").includes(`:${hex} 00000000:0000 0A`);
    } catch {
      return false; // Gone meanwhile.
    }
  });
}
