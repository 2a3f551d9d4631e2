// Registers requests from Node, without packages: docs/wire.md in code.
//
//   sharded-queue script register > register.lua
//   node producer.mjs orders.OrderHandler < requests.jsonl
//
// Each line of input is one call: an array of requests such as {"thread": "a", "body": ["a", 1]}. One with "key" in
// place of "thread" is for a handler with `threads`, whose number --threads gives. "priority", "identity" and "headers"
// may be left out. Each line of output has the receipts of a call, or says which tube is full. With your Redis client
// in place of `Connection`, `Producer` is all you need.

import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

const TIMEOUT_MS = 5_000, RETRY_MS = 30_000, PAUSE_MS = 50
const TOLERANCE_MS = 1_000 // at most 300,000: Redis recognises a call that comes again for ten minutes
const TRANSIENT = /^(LOADING|READONLY|CLUSTERDOWN|TRYAGAIN|MASTERDOWN|NOREPLICAS|MISCONF|BUSY|UNBLOCKED)/

export class QueueFull extends Error {}
class Refused extends Error {} // Redis answered with an error
class Unsent extends Error {} // the connection is gone, or no answer came in time

export class Producer {
  #connection = null
  #name = randomUUID() // its calls are numbered, one at a time, so that Redis recognises one that comes again
  #call = 0
  #aheadMs = 0 // the clock of Redis, compared with ours
  #layout = null
  #last = Promise.resolve()

  constructor({ handler, script, threads = null, capacity = 0, host = 'localhost', port = 6379 }) {
    Object.assign(this, { handler, script, capacity, host, port })
    if (threads) this.#layout = { number: 1, threads } // a guess: Redis answers with the layout in force
  }

  /** Registers all of the requests or none, and returns a receipt for each. A delay or a window of 0 is none. */
  register(requests, { delayMs = 0, windowMs = 0 } = {}) {
    const registered = this.#last.then(() => this.#register(requests, delayMs, windowMs))
    this.#last = registered.catch(() => {}) // the next call begins when this one has ended: that keeps their order
    return registered
  }

  async #register(requests, delayMs, windowMs) {
    for (;;) {
      const tubes = this.#tubes(requests)
      const layout = this.#layout ? `${this.#layout.number} ${this.#layout.threads}` : ''
      const [, ...answer] = await this.#answer(tubes, [this.capacity, delayMs, windowMs, layout], windowMs > 0)
      if (answer[0] === 'full') throw new QueueFull(`${answer[2]}/${answer[3]} holds ${answer[1]} requests`)
      if (answer[0] !== 'layout') return receipts(requests, tubes, answer)
      this.#layout = { number: answer[1], threads: answer[2] }
    }
  }

  /** The requests of each tube, in order: a tube appears once in a call. */
  #tubes(requests) {
    const tubes = new Map()
    requests.forEach((request, index) => {
      const hash = 'key' in request ? crc32(String(request.key)) : null
      const thread = hash === null ? String(request.thread) : `${this.#layout.number}:${hash % this.#layout.threads}`
      const priority = request.priority ?? 0
      const tube = tubes.get(`${thread}/${priority}`) ?? { thread, priority, bodies: [], identities: [], indices: [] }
      const mark = hash === null ? '' : '#' + hash.toString(16).padStart(8, '0')
      const headers = request.headers ? `+${JSON.stringify(request.headers)}\n` : ''
      tube.bodies.push(mark + headers + JSON.stringify(request.body))
      tube.identities.push(request.identity ?? JSON.stringify(request.body))
      tube.indices.push(index)
      tubes.set(`${thread}/${priority}`, tube)
    })
    return [...tubes.values()]
  }

  /** The answer to one call, which is sent again until an answer comes or the time is over. */
  async #answer(tubes, limits, isDeduplicated) {
    const call = ++this.#call, deadline = Date.now() + RETRY_MS
    const largest = 13 + Math.max(...tubes.flatMap(tube => tube.bodies.map(body => Buffer.byteLength(body))))
    for (;;) {
      const stamp = Date.now() + this.#aheadMs
      const args = [call, stamp, TOLERANCE_MS, 'tube_awake', this.handler, ...limits, largest]
      for (const { thread, priority, bodies, identities } of tubes) {
        args.push(thread, priority, bodies.length, ...bodies.map(body => `${stamp}${body}`))
        if (isDeduplicated) args.push(...identities)
      }
      try {
        const answer = await this.#run(args)
        if (answer.length > 1) return answer
        this.#aheadMs += answer[0] - stamp // the stamp was too far from the clock of Redis: nothing was registered
        if (Date.now() > deadline) throw new Error('the time of the requests differs from the clock of Redis')
      } catch (error) {
        if (!isTransient(error) || Date.now() > deadline) {
          this.#name = randomUUID() // the call may still be on its way: its number must not be given again
          throw error
        }
        await pause(PAUSE_MS)
      }
    }
  }

  async #run(args) {
    const base = `tube_{${this.handler}}`
    const keys = [base, `lock_{${this.handler}}`, `${base}:${this.#name}:caller`]
    if (!this.#connection?.isOpen) this.#connection = new Connection(this.host, this.port)
    this.sha ??= await this.#connection.ask('SCRIPT', 'LOAD', this.script)
    try {
      return await this.#connection.ask('EVALSHA', this.sha, keys.length, ...keys, ...args)
    } catch (error) {
      if (!error.message.startsWith('NOSCRIPT')) throw error
      await this.#connection.ask('SCRIPT', 'LOAD', this.script) // Redis was started again, or is another one
      return this.#connection.ask('EVALSHA', this.sha, keys.length, ...keys, ...args)
    }
  }

  close() {
    this.#connection?.close()
  }
}

function isTransient(error) {
  return error instanceof Unsent || (error instanceof Refused && TRANSIENT.test(error.message))
}

/** The CRC-32 of the UTF-8 text, as in PHP's crc32() and Go's hash/crc32 (IEEE). */
function crc32(text) {
  let crc = -1
  for (const byte of Buffer.from(text)) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0)
  }
  return ~crc >>> 0
}

/** By the first number of each tube, and three values for each duplicate: its tube, its place there, the first of it. */
function receipts(requests, tubes, answer) {
  const receipts = Array(requests.length)
  for (let at = tubes.length; at < answer.length; at += 3) {
    const [sequence, priority, thread] = answer[at + 2].match(/^(\S+) (\S+) (.*)$/s).slice(1)
    const index = tubes[answer[at]].indices[answer[at + 1]]
    receipts[index] = { thread, priority: Number(priority), sequence: Number(sequence), isDuplicate: true }
  }
  tubes.forEach(({ thread, priority, indices }, tube) => {
    let sequence = answer[tube]
    for (const index of indices) receipts[index] ??= { thread, priority, sequence: sequence++, isDuplicate: false }
  })
  return receipts
}

/** The protocol of Redis, as far as this needs it: one command at a time. */
class Connection {
  #socket
  #received = Buffer.alloc(0)
  #answered = null

  constructor(host, port) {
    this.#socket = connect({ host, port, noDelay: true })
    this.#socket.on('data', data => this.#read(data))
    this.#socket.on('error', () => {}) // `close` follows
    this.#socket.on('close', () => this.#answered?.(new Unsent('the connection to Redis is closed')))
  }

  get isOpen() {
    return !this.#socket.destroyed
  }

  async ask(...words) {
    const parts = words.map(word => Buffer.from(String(word)))
    const command = parts.flatMap(part => [Buffer.from(`$${part.length}\r\n`), part, Buffer.from('\r\n')])
    const timer = setTimeout(() => this.#socket.destroy(), TIMEOUT_MS)
    const answer = await new Promise(resolve => {
      this.#answered = resolve
      if (this.isOpen) this.#socket.write(Buffer.concat([Buffer.from(`*${parts.length}\r\n`), ...command]))
      else resolve(new Unsent('the connection to Redis is closed'))
    })
    clearTimeout(timer)
    if (answer instanceof Error) throw answer
    return answer
  }

  #read(data) {
    this.#received = Buffer.concat([this.#received, data])
    const parsed = parse(this.#received, 0)
    if (!parsed) return
    this.#received = Buffer.alloc(0)
    this.#answered(parsed.value)
  }

  close() {
    this.#socket.destroy()
  }
}

/** The value that begins at a place, and where the next one begins; nothing while a part of it is on its way. */
function parse(buffer, from) {
  const end = buffer.indexOf('\r\n', from)
  if (end < 0) return null
  const kind = String.fromCharCode(buffer[from]), line = buffer.toString('utf8', from + 1, end), next = end + 2
  if (kind === '+') return { value: line, next }
  if (kind === '-') return { value: new Refused(line), next }
  if (kind === ':') return { value: Number(line), next }
  if (Number(line) < 0) return { value: null, next }
  if (kind === '$') {
    const last = next + Number(line)
    return buffer.length < last + 2 ? null : { value: buffer.toString('utf8', next, last), next: last + 2 }
  }
  const items = []
  let at = next
  for (let count = Number(line); count > 0; count--) {
    const item = parse(buffer, at)
    if (!item) return null
    items.push(item.value)
    at = item.next
  }
  return { value: items, next: at }
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      script: { type: 'string', default: 'register.lua' },
      threads: { type: 'string', default: '0' },
      capacity: { type: 'string', default: '0' },
      'delay-ms': { type: 'string', default: '0' },
      'window-ms': { type: 'string', default: '0' },
    },
  })
  const [host, port] = (process.env.QUEUE_REDIS_ADDRESS ?? 'localhost:6379').split(':')
  const [threads, capacity] = [Number(values.threads), Number(values.capacity)]
  const script = readFileSync(values.script)
  const producer = new Producer({ handler: positionals[0], script, threads, capacity, host, port })
  const options = { delayMs: Number(values['delay-ms']), windowMs: Number(values['window-ms']) }
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      console.log(JSON.stringify(await producer.register(JSON.parse(line), options)))
    } catch (error) {
      if (!(error instanceof QueueFull)) throw error
      console.log(JSON.stringify({ full: error.message }))
    }
  }
  producer.close()
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await main()
