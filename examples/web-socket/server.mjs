// A page, an event stream and a WebSocket that echoes, on Node alone: what any HTTP server does.
import { createHash } from "node:crypto";
import { createServer } from "node:http";

const LARGEST = 1 << 20; // A message, in bytes.
const PROTOCOL_ERROR = 1002, TOO_LARGE = 1009; // Why a WebSocket is closed: RFC 6455 §7.4.1.

const page = `<!doctype html><meta charset="utf-8"><title>web-socket</title>
<h1>Says it back</h1>
<form><input autofocus autocomplete="off" aria-label="Something to say"> <button>Send</button></form>
<ol></ol>
<script>
const socket = new WebSocket(new URL("echo", location.href.replace(/^http/, "ws")));
const add = (text) => {
  const line = document.createElement("li");
  line.textContent = text;
  document.querySelector("ol").append(line);
};
socket.onopen = () => add("connected");
socket.onmessage = (event) => add(event.data);
socket.onclose = () => add("disconnected");
document.querySelector("form").onsubmit = (event) => {
  event.preventDefault();
  const input = document.querySelector("input");
  socket.send(input.value);
  input.value = "";
};
</script>`;

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://here");
  if (pathname === "/") {
    response.setHeader("Content-Type", "text/html; charset=utf-8").end(page);
  } else if (pathname === "/clock") {
    response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
    const tell = () => response.write(`data: ${new Date().toISOString()}\n\n`);
    tell();
    const timer = setInterval(tell, 1000);
    response.on("close", () => clearInterval(timer));
  } else {
    response.writeHead(404).end("nothing here\n");
  }
});

// RFC 6455: a key is answered with its digest; a client's frames are masked, a server's are not.
server.on("upgrade", (request, socket) => {
  const accept = createHash("sha1")
    .update(request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
    .digest("base64");
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      `Sec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  let received = Buffer.alloc(0);
  let message = null; // Of which not all frames are here.
  socket.on("error", () => socket.destroy());
  socket.on("data", (bytes) => {
    if (socket.writableEnded) return;
    received = Buffer.concat([received, bytes]);
    for (let frame; !socket.writableEnded && (frame = takeFrame()); ) answer(frame);
  });

  function answer({ opcode, last, payload }) {
    if (opcode === 8) return socket.end(frameOf(8, payload));
    if (opcode === 9) return socket.write(frameOf(10, payload));
    if (opcode === 10) return;
    const goesOn = opcode === 0;
    if (opcode > 2 || goesOn !== (message !== null)) return close(PROTOCOL_ERROR);
    message ??= { opcode, payload: Buffer.alloc(0) };
    message.payload = Buffer.concat([message.payload, payload]);
    if (message.payload.length > LARGEST) return close(TOO_LARGE);
    if (!last) return;
    socket.write(frameOf(message.opcode, message.payload));
    message = null;
  }

  function close(code) {
    socket.end(frameOf(8, Buffer.from([code >> 8, code & 255])));
    return null;
  }

  function takeFrame() {
    if (received.length < 2) return null;
    let size = received[1] & 127;
    let at = 2;
    if (size === 126) {
      if (received.length < 4) return null;
      size = received.readUInt16BE(2);
      at = 4;
    } else if (size === 127) {
      if (received.length < 10) return null;
      size = Number(received.readBigUInt64BE(2));
      at = 10;
    }
    const isMasked = received[1] & 128;
    const hasReserved = received[0] & 112;
    const last = received[0] >= 128;
    const opcode = received[0] & 15;
    const isControl = opcode >= 8;
    if (!isMasked || hasReserved || (isControl && (!last || size > 125))) return close(PROTOCOL_ERROR);
    if (size > LARGEST) return close(TOO_LARGE);
    if (received.length < at + 4 + size) return null;
    const mask = received.subarray(at, at + 4);
    const payload = Buffer.from(received.subarray(at + 4, at + 4 + size));
    for (let i = 0; i < size; ++i) payload[i] ^= mask[i % 4];
    received = received.subarray(at + 4 + size);
    return { opcode, last, payload };
  }
});

function frameOf(opcode, payload) {
  const head = Buffer.alloc(payload.length < 126 ? 2 : payload.length < 65536 ? 4 : 10);
  head[0] = 128 | opcode;
  if (head.length === 2) head[1] = payload.length;
  if (head.length === 4) (head[1] = 126), head.writeUInt16BE(payload.length, 2);
  if (head.length === 10) (head[1] = 127), head.writeBigUInt64BE(BigInt(payload.length), 2);
  return Buffer.concat([head, payload]);
}

server.listen(process.env.PORT);
process.on("SIGTERM", () => process.exit(0));
