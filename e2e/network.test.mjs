// What functions may reach of the network, and what may reach them: S13, S14, I5. The file runs
// itself again in a network namespace of its own, beside a second one that is the world.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync, readlinkSync } from "node:fs";
import { execFileSync } from "node:child_process";
import net from "node:net";
import { fileURLToPath } from "node:url";
import { aws, client, refusal as refusalOf, zip } from "./aws.mjs";
import { Platform, eventually } from "./platform.mjs";
import * as world from "./world.mjs";

const app = `import json, socket, ssl, threading, time, urllib.request

def fetch(url):
    try:
        return urllib.request.urlopen(url, timeout=4).read().decode()
    except Exception as failure:
        return "failed: " + str(failure)

def dial(host, port, kind="stream"):
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET,
                         socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM)
    made.settimeout(0.7)
    try:
        made.connect((host, port))
        if kind == "datagram":
            made.send(b"anybody?")
            return "ANSWERED " + made.recv(100).decode("latin1")
        return "CONNECTED"
    except OSError as failure:
        return "denied: " + str(failure)
    finally:
        made.close()

def sweep(places):
    reached = []
    for at in range(0, len(places), 100):
        trying = []
        for place in places[at:at + 100]:
            family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as sent:
                try:
                    sent.sendto(b"anybody?", tuple(place))
                except OSError:
                    pass
            made = socket.socket(family)
            made.setblocking(False)
            made.connect_ex(tuple(place))
            trying.append((place, made))
        time.sleep(0.3)
        for place, made in trying:
            try:
                made.getpeername()
                reached.append(place)
            except OSError:
                pass
            made.close()
    return reached

def address():
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    probe.connect(("203.0.113.7", 9))
    return probe.getsockname()[0]

def listen(seconds):
    listener = socket.create_server(("0.0.0.0", 9000))
    listener.settimeout(seconds)
    try:
        return "heard " + str(listener.accept()[1])
    except TimeoutError:
        return "heard nobody"
    finally:
        listener.close()

def raw():
    denied = []
    for family, kind in ((socket.AF_INET, socket.SOCK_RAW), (socket.AF_INET6, socket.SOCK_RAW),
                         (socket.AF_PACKET, socket.SOCK_RAW), (socket.AF_PACKET, socket.SOCK_DGRAM),
                         (socket.AF_NETLINK, socket.SOCK_RAW), (socket.AF_VSOCK, socket.SOCK_STREAM)):
        try:
            socket.socket(family, kind).close()
            denied.append("ALLOWED %d %d" % (family, kind))
        except OSError:
            denied.append("denied")
    return denied

def handler(event, context):
    verb, *words = event
    return {"fetch": fetch, "dial": dial, "sweep": sweep, "address": address, "listen": listen, "raw": raw,
            "hosts": lambda: open("/etc/hosts").read(),
            "authorities": lambda: len(ssl.create_default_context().get_ca_certs())}[verb](*words)
`;

// The same in JavaScript, as far as a program there can: for a function in Node, and for an HTTP server.
const inJavaScript = `import dgram from "node:dgram";
import fs from "node:fs";
import http from "node:http";
import net from "node:net";

const fetched = (url) => fetch(url, { signal: AbortSignal.timeout(4000) })
  .then((got) => got.text())
  .catch((failure) => "failed: " + (failure.cause ?? failure).message);

const dial = ([host, port, kind = "stream"]) => new Promise((resolve) => {
  let made, isOver = false;
  const end = (said) => {
    if (isOver) return;
    isOver = true;
    clearTimeout(late);
    kind === "stream" ? made.destroy() : made.close();
    resolve(said);
  };
  const late = setTimeout(() => end("denied: nothing came"), 700);
  const denied = (failure) => failure && end("denied: " + failure.code);
  if (kind === "stream") {
    made = net.connect(port, host, () => end("CONNECTED")).on("error", denied);
  } else {
    made = dgram.createSocket(net.isIPv6(host) ? "udp6" : "udp4").on("error", denied);
    // Connected: else what another of these asks of the function's own loopback may come to it.
    made.on("message", (said) => end("ANSWERED " + said)).connect(port, host, (failure) => {
      if (!isOver) failure ? denied(failure) : made.send("anybody?", denied);
    });
  }
});

const dialAll = async (places) => {
  const said = [];
  for (let at = 0; at < places.length; at += 600) said.push(...await Promise.all(places.slice(at, at + 600).map(dial)));
  return said;
};

export const handler = ([verb, ...words]) =>
  ({ fetch: fetched, dialAll, hosts: () => fs.readFileSync("/etc/hosts", "utf8") })[verb](...words);

if (process.env.K_SERVICE) http.createServer(async (request, response) => {
  let event = "";
  for await (const part of request) event += part;
  response.setHeader("Content-Type", "application/json").end(JSON.stringify(await handler(JSON.parse(event))));
}).listen(process.env.PORT);
`;

const kinds = {
  python: { fields: "runtime: python\nhandler: app.handler", files: { "app.py": app } },
  node: { fields: "runtime: node\nhandler: app.handler", files: { "app.mjs": inJavaScript } },
  web: { fields: "runtime: web\ncommand: [node, app.mjs]", files: { "app.mjs": inJavaScript } },
};

const manifest = (name, network, kind = "python") =>
  `name: ${name}\n${kinds[kind].fields}\nmemory: 128MiB\n` + (network ? `network: ${network}\n` : "");

if (!world.isInside) {
  test("the network, in one of our own", () => world.runInside(fileURLToPath(import.meta.url)));
} else {
  let platform, there;
  const rebound = (kind) => `${kind}.rebind.example`;

  before(async () => {
    there = await world.makeWorld({
      "api.example": [world.theWorlds],
      "inside.example": [world.ofAPrivateNetwork],
      "node.example": [world.theHosts],
      // From the second time on.
      ...Object.fromEntries(Object.keys(kinds).map((kind) => [rebound(kind), [world.theWorlds, world.ofAPrivateNetwork]])),
    });
    platform = await Platform.start({});
  });
  after(async () => {
    await platform.stop();
    assert.deepEqual(leftOnHost(platform), []);
    there.end();
  });

  // Another daemon, gone when the test is, however that ends.
  const start = async (t, options) => {
    const started = await Platform.start(options);
    t.after(() => started.process.kill("SIGKILL"));
    return started;
  };
  const deploy = async (name, network, on = platform, kind = "python") => {
    const done = await on.deploy(manifest(name, network, kind), kinds[kind].files);
    assert.equal(done.code, 0, done.stderr);
  };
  const refusal = async (network, on = platform) => {
    const done = await on.deploy(manifest("refused", network), { "app.py": app });
    assert.notEqual(done.code, 0, done.stdout);
    return done.stderr;
  };
  const ask = (name, ...event) => platform.callJson(name, event);
  const heardBy = (address) => there.heard()[address] ?? 0;

  test("outbound reaches the world, by number and by name", async () => {
    await deploy("out", "outbound");
    assert.match(await ask("out", "fetch", `http://${world.theWorlds}/`), /^203\.0\.113\.7 heard 203\.0\.113\.1$/);
    assert.match(await ask("out", "fetch", "http://api.example/"), /^203\.0\.113\.7 heard/);
    assert.match(await ask("out", "fetch", `http://${world.anotherOfTheWorld}:8443/`), /heard/);
    assert.match(await ask("out", "fetch", "http://unknown.example/"), /failed: .*[Nn]ame/);
    if (existsSync("/etc/ssl/certs/ca-certificates.crt")) {
      assert.ok((await ask("out", "authorities")) > 0, "it has no certificates to trust");
    }
  });

  test("node and any program reach it, too", async () => {
    const fetching = `export const handler = async (url) => (await fetch(url)).text();`;
    let done = await platform.deploy("name: js\nruntime: node\nhandler: app.handler\nnetwork: outbound\n", { "app.mjs": fetching });
    assert.equal(done.code, 0, done.stderr);
    assert.match(await platform.callJson("js", "http://api.example/"), /heard/);
    const bootstrap = `#!/bin/sh
api=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime
while :; do
  id=$(curl -s -D - -o /tmp/event "$api/invocation/next" | tr -d '\\r' | sed -n 's/^lambda-runtime-aws-request-id: //Ip')
  curl -s -m 4 "$(cat /tmp/event)" >/tmp/answer || echo failed >/tmp/answer
  curl -s --data-binary @/tmp/answer "$api/invocation/$id/response" >/dev/null
done
`;
    done = await platform.deploy("name: sh\nruntime: executable\nnetwork: outbound\n", { bootstrap });
    assert.equal(done.code, 0, done.stderr);
    assert.match((await platform.invoke("sh", "http://api.example/")).text, /heard/);
    assert.match((await platform.invoke("sh", `http://${world.theHosts}:${platform.port}/`)).text, /failed/);
  });

  // What listens at each, so that a denial is not only that there is nobody.
  const denied = () => [
    ["127.0.0.1", platform.port],
    [world.theHosts, platform.port],
    ["10.77.0.1", platform.port],
    [world.ofAPrivateNetwork, 80],
    [world.ofTheLink, 80],
    ["192.168.0.1", 80],
    ["172.16.0.1", 80],
    ["100.64.0.1", 80],
    ["198.18.0.1", 80],
    ["198.19.0.1", 80],
    ["0.0.0.0", platform.port],
    ["224.0.0.1", 80],
    ["255.255.255.255", 80],
    ["203.0.113.255", 80],
    ["::1", platform.port],
    ["fe80::1", 80],
    ["fd00:ec2::254", 80],
    ["2001:db8::1", 80],
    [routerOf(platform), platform.port],
  ];

  test("S13: the host, private networks and metadata are not of the world", async (t) => {
    const everywhere = await start(t, { host: "0.0.0.0", args: ["--key-file", await keyFile()] });
    const before = there.heard();
    let attempts = 0;
    for (const [host, port] of [...denied(), [world.theHosts, everywhere.port], ["10.77.0.1", everywhere.port]]) {
      for (const kind of ["stream", "datagram"]) {
        const came = await ask("out", "dial", host, port, kind);
        assert.match(came, /^denied/, `${host}:${port} ${kind}: ${came}`);
        attempts += 1;
      }
    }
    console.log(`S13: ${attempts} attempts of a function that may reach the world, all denied`);
    const after = there.heard();
    for (const each of [world.ofAPrivateNetwork, world.ofTheLink]) assert.equal(after[each], before[each]);
    assert.deepEqual(await ask("out", "raw"), Array(6).fill("denied"));
    await everywhere.stop();
  });

  // Any address of these, by a seed.
  function placesIn(networks, each) {
    let seed = 20_15;
    const below = (end) => (seed = (seed * 48_271) % 0x7fff_ffff) % end;
    const places = [];
    for (const [prefix, bits] of networks) {
      for (let i = 0; i < each; ++i) {
        const host = prefix.includes(":")
          ? `${prefix}${below(0x10000).toString(16)}:${below(0x10000).toString(16)}`
          : prefix.split(".").map((byte, at) => (at * 8 >= bits ? below(256) : Number(byte))).join(".");
        places.push([host, 1 + below(65_535)]);
      }
    }
    return places;
  }

  const deniedNetworks = [
    ["10.0.0.0", 8], ["172.16.0.0", 16], ["172.31.0.0", 16], ["192.168.0.0", 16], ["169.254.0.0", 16],
    ["100.64.0.0", 16], ["100.127.0.0", 16], ["127.0.0.0", 8], ["198.18.0.0", 16], ["198.19.0.0", 16],
    ["192.0.0.0", 24], ["255.255.255.255", 32], ["172.20.0.0", 16], ["203.0.113.255", 32], ["224.0.0.0", 8],
    ["239.0.0.0", 8], ["240.0.0.0", 8], ["0.0.0.0", 8], [world.theHosts, 32], ["10.77.0.1", 32],
    ["fd00:ec2::", 0], ["fe80::", 0], ["fc00::", 0], ["ff02::", 0], ["2001:db8::", 0],
  ];

  // Of the packets that leave the host while `act` goes on; of `control` some do. But for those of connections that
  // were open before, and are closed meanwhile.
  async function noneLeave(act, control) {
    world.nft("add table inet counted");
    try {
      world.nft("add chain inet counted out { type filter hook postrouting priority 300; }");
      world.nft("add rule inet counted out oifname eth0 meta l4proto { tcp, udp, icmp, sctp } ct state != established counter");
      const left = () => Number(/packets (\d+)/.exec(world.nft("list", "table", "inet", "counted"))[1]);
      const before = left();
      await act();
      assert.equal(left(), before, "packets left");
      await control();
      assert.ok(left() > before, "nothing is counted: the test proves nothing");
    } finally {
      world.nft("delete", "table", "inet", "counted");
    }
  }

  test("S13: of a thousand probes of what is denied none leaves, and none connects", async () => {
    const places = placesIn(deniedNetworks, 20);
    await noneLeave(
      async () => assert.deepEqual(await ask("out", "sweep", places), []),
      async () => assert.match(await ask("out", "fetch", `http://${world.theWorlds}/`), /heard/),
    );
    console.log(`S13: ${places.length * 2} probes of ${deniedNetworks.length} networks, none left`);
  });

  test("S13: to functions in Node and HTTP servers it is denied alike, some of the world or all", async () => {
    const theWorlds = [world.theWorlds, 80];
    const outs = ["out-node", "out-web"];
    const nones = ["none-node", "none-web"];
    for (const name of outs) await deploy(name, "outbound", platform, name.slice(4));
    for (const name of nones) await deploy(name, undefined, platform, name.slice(5));
    const both = (each) => ["stream", "datagram"].map((way) => [...each.slice(0, 2), way]);
    const areDenied = async (name, places) => {
      const asked = places.flatMap(both);
      const said = await ask(name, "dialAll", asked);
      for (const [i, came] of said.entries()) assert.match(came, /^denied/, `${name}: ${asked[i]}: ${came}`);
    };
    const places = [...denied(), ...placesIn(deniedNetworks, 10)];
    const heard = there.heard();
    await noneLeave(async () => {
      const more = [theWorlds, [world.theWorlds, 53]];
      await Promise.all([...outs.map((out) => areDenied(out, places)), ...nones.map((none) => areDenied(none, [...places, ...more]))]);
      for (const none of nones) assert.match(await ask(none, "fetch", "http://api.example/"), /^failed/);
    }, async () => {
      for (const out of outs) {
        assert.match(await ask(out, "fetch", "http://api.example/"), /^203\.0\.113\.7 heard/); // Names by datagrams.
        assert.deepEqual(await ask(out, "dialAll", [theWorlds]), ["CONNECTED"]);
      }
    });
    for (const each of [world.ofAPrivateNetwork, world.ofTheLink]) assert.equal(there.heard()[each], heard[each]);
    for (const none of nones) assert.equal((await ask(none, "hosts")).trim(), "127.0.0.1 localhost");
  });

  test("S13: a port of the host's that is somewhere else's is the host's", async () => {
    const rule = `table ip published {
      chain prerouting { type nat hook prerouting priority dstnat; tcp dport 8161 fib daddr type local dnat to ${world.ofAPrivateNetwork}:80; }
      chain postrouting { type nat hook postrouting priority srcnat; oifname "eth0" ct status dnat masquerade; }
    }`.replaceAll(";", "\n").replaceAll("}", "\n}");
    execFileSync("nft", ["-f", "-"], { input: rule });
    try {
      const url = `http://${world.theHosts}:8161/`;
      assert.match(there.there("curl", "-sS", "-m", "3", url), /^10\.77\.0\.7 heard/); // As it is for others.
      assert.match(await ask("out", "fetch", url), /^failed/);
    } finally {
      world.nft("delete", "table", "ip", "published");
    }
  });

  test("rules of the host's that were loaded anew are put back with the next network", async () => {
    world.nft("flush", "ruleset");
    await deploy("after", "outbound");
    assert.match(await ask("after", "fetch", `http://${world.theWorlds}/`), /heard/);
    assert.match(await ask("after", "dial", world.theHosts, platform.port, "stream"), /^denied/);
    assert.match(await ask("out", "dial", world.theHosts, platform.port, "stream"), /^denied/);
  });

  test("S13: a function that says nothing of the network reaches nothing", async () => {
    await deploy("none");
    for (const [host, port] of [...denied(), [world.theWorlds, 80], [world.theWorlds, 53]]) {
      for (const kind of ["stream", "datagram"]) {
        assert.match(await ask("none", "dial", host, port, kind), /^denied/, `${host} ${kind}`);
      }
    }
    assert.match(await ask("none", "fetch", "http://api.example/"), /^failed/);
    assert.equal((await ask("none", "hosts")).trim(), "127.0.0.1 localhost");
  });

  test("nothing opens a connection to a sandbox: host, world, or another sandbox", async () => {
    await deploy("other", "outbound");
    const address = await ask("out", "address");
    assert.match(address, /^198\.19\./);
    const listening = ask("out", "listen", 5);
    await eventually("it listens", () => world.listens(platform, 9000));
    assert.match(await ask("other", "dial", address, 9000), /^denied/);
    await assert.rejects(connect(address, 9000));
    // The world knows a way to where sandboxes and routers are.
    assert.throws(() => there.there("curl", "-sS", "-m", "1", `http://${address}:9000/`));
    assert.throws(() => there.there("curl", "-sS", "-m", "1", `http://${routerOf(platform)}:9000/`));
    assert.equal(await listening, "heard nobody");
  });

  test("an allow-list opens what is on it, and nothing else", async () => {
    await deploy("some", `{allow: ["api.example:80", "${world.ofAPrivateNetwork}:8443"]}`);
    assert.match(await ask("some", "fetch", "http://api.example/"), /heard/);
    assert.match(await ask("some", "fetch", `http://${world.theWorlds}/`), /heard/);
    assert.match(await ask("some", "fetch", `http://${world.ofAPrivateNetwork}:8443/`), /heard/);
    for (const [host, port] of [
      ...denied(),
      [world.theWorlds, 8443],
      [world.ofAPrivateNetwork, 80],
      [world.anotherOfTheWorld, 80],
      [world.theWorlds, 53],
    ]) {
      assert.match(await ask("some", "dial", host, port), /^denied/, `${host}:${port}`);
    }
    assert.equal(await ask("some", "hosts"), `127.0.0.1 localhost\n${world.theWorlds} api.example\n`);
    const shown = (await platform.cli("show", "some")).stdout;
    assert.match(shown, /note: network +api\.example is 203\.0\.113\.7/);
  });

  test("what AWS's tools create has what its tag says, and otherwise what the node's configuration does", async (t) => {
    const open = await start(t, { config: "lambda: {network: outbound}\n" });
    const anyone = { url: open.url, credentials: { accessKeyId: "any", secretAccessKey: "any" } };
    const send = (Command, input, by = anyone) => client(by).send(new aws[`${Command}Command`](input));
    const create = (by, FunctionName, Tags = {}) =>
      send("CreateFunction", { FunctionName, Runtime: "python3.12", Role: "r", Handler: "app.handler", Timeout: 9,
        Code: { ZipFile: zip({ "app.py": app }) }, Tags }, by);
    const fetched = (by, name, url) => by.callJson(name, ["fetch", url]);
    const closed = { ...anyone, url: platform.url };
    await create(anyone, "aws-out");
    assert.match(await fetched(open, "aws-out", "http://api.example/"), /heard/);
    const { FunctionArn: Resource } = await create(closed, "aws-some", {
      "dormouse:network": `api.example:80 ${world.ofAPrivateNetwork}:8443` });
    assert.match(await fetched(platform, "aws-some", "http://api.example/"), /heard/);
    assert.match(await fetched(platform, "aws-some", `http://${world.ofAPrivateNetwork}:8443/`), /heard/);
    assert.match(await fetched(platform, "aws-some", `http://${world.anotherOfTheWorld}:8443/`), /^failed/);
    await send("UntagResource", { Resource, TagKeys: ["dormouse:network"] }, closed);
    assert.match(await fetched(platform, "aws-some", "http://api.example/"), /^failed/);
    const unknown = await refusalOf(create(closed, "aws-some-2", { "dormouse:network": "unknown.example:80" }));
    assert.match(unknown.join(), /^InvalidParameterValueException,400,.*unknown\.example:80/);
  });

  test("S14: a name is asked for once, and what it says later opens nothing", async () => {
    const before = heardBy(world.ofAPrivateNetwork);
    const isPinned = async (kind) => {
      const said = await ask(`pinned-${kind}`, "fetch", `http://${rebound(kind)}/`);
      assert.match(said, /^203\.0\.113\.7 heard/, kind);
    };
    for (const kind of Object.keys(kinds)) {
      await deploy(`pinned-${kind}`, `{allow: ["${rebound(kind)}:80"]}`, platform, kind);
      for (let turn = 0; turn < 3; ++turn) await isPinned(kind);
      const denied = kind === "python"
        ? [await ask("pinned-python", "dial", world.ofAPrivateNetwork, 80)]
        : await ask(`pinned-${kind}`, "dialAll", [[world.ofAPrivateNetwork, 80]]);
      assert.match(denied[0], /^denied/, kind);
    }
    // Also after a start anew, when the name says something else.
    await platform.kill("SIGTERM");
    await platform.serve();
    for (const kind of Object.keys(kinds)) await isPinned(kind);
    assert.equal(heardBy(world.ofAPrivateNetwork), before);
    assert.match(await refusal(`{allow: ["${rebound("python")}:80"]}`), /is 10\.77\.0\.7, of a private network/);
  });

  test("what cannot be is refused with what to do", async () => {
    for (const [network, why] of [
      ["inbound", /network: "inbound" is not allowed .*`outbound`/],
      ["{deny: []}", /unknown field "deny"/],
      ["{allow: []}", /allow: not a list/],
      ["{allow: [api.example]}", /no port: write HOST:PORT/],
      ['{allow: ["[::1]:80"]}', /IPv6/],
      ['{allow: ["127.0.0.1:80"]}', /never reached: it is of the loopback/],
      ['{allow: ["169.254.169.254:80"]}', /metadata/],
      ['{allow: ["inside.example:80"]}', /is 10\.77\.0\.7, of a private network; .*by that number/],
      ['{allow: ["node.example:80"]}', /203\.0\.113\.1 is this node's own/],
      ['{allow: ["10.77.0.1:80"]}', /10\.77\.0\.1 is this node's own/],
      ['{allow: ["unknown.example:80"]}', /unknown\.example:80: .*[Nn]ame/],
    ]) {
      assert.match(await refusal(network), why, network);
    }
    const probe = await platform.deploy({ name: "probe", runtime: "probe", network: "outbound" });
    assert.match(probe.stderr, /network: the runtime probe has none/);
  });

  test("a host that cannot is told so at the deploy, and by doctor; other functions go on", async () => {
    const doctor = async () => (await platform.cli("doctor")).stdout;
    assert.match(await doctor(), /good +networks for functions, with 1 nameservers/);
    world.forward(false);
    assert.match(await refusal("outbound"), /does not forward IPv4.*sysctl -w net\.ipv4\.ip_forward=1/);
    assert.match(await doctor(), /degraded +no networks for functions.*ip_forward/);
    world.forward(true);
    assert.match(await ask("out", "fetch", "http://api.example/"), /heard/);
    execFileSync("mount", ["--bind", "/dev/null", "/usr/sbin/nft"]);
    try {
      assert.match(await doctor(), /nft is not installed \(`apt-get install nftables`\)/);
      assert.match(await ask("out", "fetch", "http://api.example/"), /heard/); // It has its rules.
      assert.match(await refusal('{allow: ["198.51.100.9:80"]}'), /nft/);
      await deploy("nothing");
    } finally {
      execFileSync("umount", ["/usr/sbin/nft"]);
    }
  });

  test("under runsc there is none", async (t) => {
    const strict = await start(t, { config: "sandbox: { oci_runtime: runsc }\n" });
    assert.match(await refusal("outbound", strict), /network: .*runsc/);
    await strict.stop();
  });

  test("nameservers that the configuration says are opened, for names alone", async (t) => {
    const asking = await start(t, { config: `sandbox: { resolvers: [${world.ofAPrivateNetwork}] }\n` });
    await deploy("out", "outbound", asking);
    assert.match(await asking.callJson("out", ["fetch", "http://api.example/"]), /heard/);
    assert.match(await asking.callJson("out", ["dial", world.ofAPrivateNetwork, 80]), /^denied/);
    await asking.stop();
  });

  test("two daemons on one host keep to their own", async (t) => {
    const second = await start(t, {});
    await deploy("out", "outbound", second);
    const call = () => second.callJson("out", ["fetch", "http://api.example/"]);
    assert.match(await call(), /heard/);
    assert.match(await ask("out", "fetch", "http://api.example/"), /heard/);
    assert.notEqual(routerOf(second), routerOf(platform));
    await second.stop();
    assert.deepEqual(leftOnHost(second), []);
    assert.match(await ask("out", "fetch", "http://api.example/"), /heard/);
  });

  test("I5: kill -9 leaves nothing that the next start does not remove", async () => {
    assert.match(await ask("out", "fetch", "http://api.example/"), /heard/);
    assert.notDeepEqual(leftOnHost(platform), []);
    await platform.kill("SIGKILL");
    await eventually("the interface went with its owner", () => !leftOnHost(platform).some((each) => each.startsWith("interface")));
    await platform.serve();
    assert.deepEqual(leftOnHost(platform), []); // Until somebody wants a network.
    assert.match(await ask("out", "fetch", "http://api.example/"), /heard/);
  });

  test("I5: an interface goes with its sandbox", async () => {
    const yaml = "name: brief\nruntime: node\nhandler: app.handler\nnetwork: outbound\nkeep_alive: 0ms\n";
    const done = await platform.deploy(yaml, { "app.mjs": `export const handler = async () => "up";` });
    assert.equal(done.code, 0, done.stderr);
    for (let turn = 0; turn < 20; ++turn) assert.equal(await platform.callJson("brief"), "up");
    const taken = (name) => platform.cli("delete", name);
    const pinned = Object.keys(kinds).map((kind) => `pinned-${kind}`);
    for (const name of ["brief", "js", "sh", "other", "some", "out-node", "out-web", ...pinned]) {
      assert.equal((await taken(name)).code, 0);
    }
    // That of the template of `out` stays.
    await eventually("all others are gone", () => linksIn(platform).length === 1);
    assert.match(await ask("out", "fetch", "http://api.example/"), /heard/);
  });

  // ---- what the tests ask

  async function keyFile() {
    const file = `${platform.dir}/keys`;
    await platform.cliAlone("key", "new", "--file", file);
    platform.url = `http://127.0.0.1:${platform.port}`;
    return file;
  }

  function connect(host, port) {
    return new Promise((resolve, reject) => {
      const socket = net.createConnection({ host, port, timeout: 1000 }, () => resolve(socket.destroy()));
      socket.on("timeout", () => socket.destroy(new Error("timed out")));
      socket.on("error", reject);
    });
  }

  // Also of one whose folder is gone.
  function idOf(it) {
    it.id ??= readFileSync(`${it.data}/sandboxes/id`, "utf8").trim();
    return it.id;
  }
  function interfaceOf(it) {
    return `dm${idOf(it)}`;
  }
  // The router's address, one above the host's towards it.
  function routerOf(it) {
    const [, first, last] = /inet (198\.18\.\d+\.)(\d+)\/30/.exec(world.ip("-4", "addr", "show", interfaceOf(it)));
    return first + (Number(last) + 1);
  }
  // The interfaces to sandboxes, where the daemon's thread for them is.
  function linksIn(it) {
    const tasks = `/proc/${it.daemonPid()}/task`;
    const network = (task) => readlinkSync(`${tasks}/${task}/ns/net`);
    const task = readdirSync(tasks).find((each) => network(each) !== readlinkSync("/proc/self/ns/net"));
    const links = execFileSync("nsenter", [`--net=${tasks}/${task}/ns/net`, "ip", "-o", "link"], { encoding: "utf8" });
    return links.match(/ sb\d+@/g) ?? [];
  }
  function leftOnHost(it) {
    const left = [];
    if (world.ip("-o", "link").includes(interfaceOf(it))) left.push(`interface ${interfaceOf(it)}`);
    if (world.nft("list", "tables").includes(`dormouse-${idOf(it)}`)) left.push(`table of ${idOf(it)}`);
    return left;
  }
}
