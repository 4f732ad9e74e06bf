import OpenAI from "openai";

const [model = "chat", content = "Why do dormice sleep?"] = process.argv.slice(2);
const url = process.env.DORMOUSE_URL ?? "http://127.0.0.1:8080";
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none" });
const messages = [{ role: "user", content }];
const stream = await client.chat.completions.create({ model, messages, stream: true });
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
