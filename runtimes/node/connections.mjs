// Requests to the adapter beside this process (docs/formats/runtime-api.md), one at a time on each of
// some connections that stay open. Each answer of its has a Content-Length, and nothing else is read
// here: node:http takes longer for such an exchange than all that is exchanged does (bench/run calls).
import http from "node:http";
import net from "node:net";

const END_OF_HEAD = "\r\n\r\n";

export class Connections {
  #address;
  #idle = [];

  // `address`: "127.0.0.1:9001".
  constructor(address) {
    const [host, port] = address.split(":");
    this.#address = { host, port: Number(port), noDelay: true };
  }

  // Gives {status, headers, body}: the names of headers in small letters, the body as a Buffer. `body`
  // is a string, bytes, or undefined: none.
  async exchange(method, path, headers, body) {
    const head = requestOf(method, path, headers, body);
    const connection = this.#take() ?? new Connection(net.connect(this.#address));
    const answer = await connection.exchange(head, body);
    if (!connection.isClosed) this.#idle.push(connection);
    return answer;
  }

  // A socket for node:http, of which nothing is known here any more: the adapter takes so many.
  lend() {
    return this.#take()?.letGo() ?? net.connect(this.#address);
  }

  #take() {
    let connection = this.#idle.pop();
    while (connection?.isClosed) connection = this.#idle.pop();
    return connection;
  }
}

class Connection {
  #socket;
  #parts = [];
  #bytes = 0; // In #parts.
  #head = null; // Of the answer, once it is there.
  #waiting = null; // Whoever is to have it.
  isClosed = false;

  #listeners = {
    data: (data) => this.#receive(data),
    error: (error) => this.#end(error),
    close: () => this.#end(new Error("the platform closed the connection")),
  };

  constructor(socket) {
    this.#socket = socket;
    for (const [event, listener] of Object.entries(this.#listeners)) socket.on(event, listener);
  }

  letGo() {
    for (const [event, listener] of Object.entries(this.#listeners)) this.#socket.off(event, listener);
    return this.#socket.ref();
  }

  exchange(head, body) {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#socket.ref();
      this.#socket.cork();
      this.#socket.write(head, "latin1");
      if (body !== undefined) this.#socket.write(body);
      this.#socket.uncork();
    });
  }

  #receive(data) {
    if (this.#waiting === null) return this.#end(new Error("an answer that nobody asked for"));
    this.#parts.push(data);
    this.#bytes += data.length;
    if (this.#head === null && !this.#takeHead()) return;
    if (this.#bytes < this.#head.length) return;
    const { status, headers } = this.#head;
    const answer = { status, headers, body: Buffer.concat(this.#parts) };
    const { resolve } = this.#waiting;
    this.#parts = [];
    this.#bytes = 0;
    this.#head = this.#waiting = null;
    this.#socket.unref(); // One that is idle is nothing that a function's event loop waits for.
    if (headers.connection === "close") this.#end(new Error("closed"));
    resolve(answer);
  }

  #takeHead() {
    const all = Buffer.concat(this.#parts);
    const end = all.indexOf(END_OF_HEAD);
    if (end >= 0) this.#head = headOf(all.latin1Slice(0, end));
    this.#parts = [end < 0 ? all : all.subarray(end + END_OF_HEAD.length)];
    this.#bytes = this.#parts[0].length;
    return end >= 0;
  }

  #end(why) {
    this.isClosed = true;
    this.#socket.destroy();
    this.#waiting?.reject(why);
    this.#waiting = null;
  }
}

// What it says of its connection is this file's alone.
function requestOf(method, path, headers, body) {
  let head = `${method} ${path} HTTP/1.1\r\nHost: localhost\r\n`;
  for (const [name, value] of Object.entries(headers)) {
    http.validateHeaderValue(name, value);
    head += `${name}: ${value}\r\n`;
  }
  return head + (body === undefined ? "\r\n" : `Content-Length: ${Buffer.byteLength(body)}${END_OF_HEAD}`);
}

function headOf(text) {
  const [first, ...lines] = text.split("\r\n");
  const headers = {};
  for (const line of lines) {
    const colon = line.indexOf(":");
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 2); // A blank is behind each colon.
  }
  return { status: Number(first.split(" ")[1]), headers, length: Number(headers["content-length"]) };
}
