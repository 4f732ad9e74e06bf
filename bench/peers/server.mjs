// The peer: fastify with one route that says hello. server.mjs FASTIFY PORT
const { default: fastify } = await import(process.argv[2]);
const server = fastify();
server.post("/", async () => "hello\n");
await server.listen({ host: "127.0.0.1", port: Number(process.argv[3]) });
