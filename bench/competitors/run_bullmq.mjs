// BullMQ, as the Python scripts beside this one run the other queues: see timing.py. 100 jobs at a time at its best.
//
// It is started in the folder of its environment, from which it takes its packages.

import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

const { Queue, Worker } = createRequire(join(process.cwd(), "package.json"))("bullmq");

const [action, port, how, number] = process.argv.slice(2).map((word) => (/^\d+$/.test(word) ? Number(word) : word));
const isTold = action === "serve" || action === "produce";
const connection = { host: "127.0.0.1", port, maxRetriesPerRequest: null };
const settings = { single: { concurrency: 1 }, best: { concurrency: 100 }, default: {} }[how];
const options = how === "default" ? {} : { removeOnComplete: true };
const BULK = 1000;

const text = (each) =>
  isTold ? `job ${String(each).padStart(5, "0")} of those that are told` : "a request of about fifty bytes, told";
const told = (what, each, at = process.hrtime.bigint()) => process.stdout.write(`${what} ${each} ${at}\n`);
const job = (each) => ["work", { number: each, text: text(each) }, options];

function clock() {
  const begun = process.hrtime.bigint();
  const cpu = process.cpuUsage();
  return () => {
    const seconds = Number(process.hrtime.bigint() - begun) / 1e9;
    const { user, system } = process.cpuUsage(cpu);
    console.log(JSON.stringify({ rate: number / seconds, cpu_us: (user + system) / number }));
  };
}

async function register(queue, numbers) {
  if (how !== "best") {
    for (const each of numbers) await queue.add(...job(each));
    return;
  }
  for (let at = 0; at < numbers.length; at += BULK) {
    const jobs = numbers.slice(at, at + BULK).map(job);
    await queue.addBulk(jobs.map(([name, data, opts]) => ({ name, data, opts })));
  }
}

async function lasting({ data }) {
  told("begin", data.number);
  await new Promise((resolve) => setTimeout(resolve, number));
  told("end", data.number);
}

async function serve(count) {
  const worker = new Worker("bench", isTold ? lasting : async () => {}, { connection, ...settings });
  if (count === undefined) return;
  let left = count;
  await new Promise((resolve) => worker.on("completed", () => --left || resolve()));
  return worker;
}

async function produce(queue) {
  for await (const line of createInterface({ input: process.stdin })) {
    const sentAt = process.hrtime.bigint();
    await register(queue, [Number(line)]);
    told("sent", Number(line), sentAt);
  }
}

if (action === "serve") {
  await serve();
} else if (action === "handle") {
  const report = clock();
  const worker = await serve(number);
  report();
  await worker.close();
} else {
  const queue = new Queue("bench", { connection });
  await queue.waitUntilReady();
  if (action === "produce") await produce(queue);
  else {
    const report = clock();
    await register(queue, Array.from({ length: number }, (_, each) => each));
    report();
  }
  await queue.close();
}
