// Ogg pages with Opus inside (RFC 3533, RFC 7845): the browser's codec speaks bare packets, the wire speaks Ogg.
// Pure: no browser API. The muxer writes one packet per page, so that a page leaves the moment its packet exists;
// the demuxer takes bytes split anywhere, finds its way back after damage and follows chained streams.

const CAPTURE = [0x4f, 0x67, 0x67, 0x53]; // "OggS"
const HEADER_BYTES = 27;
const FLAG_CONTINUED = 1;
const FLAG_BOS = 2;
/** The longest page: 255 segments of 255 bytes and their table. */
const LONGEST_PAGE = HEADER_BYTES + 255 + 255 * 255;
/** A packet may span pages; more than this is no Opus packet (RFC 6716 allows 61,298 bytes at most). */
const LONGEST_PACKET = 61298;

/** Lookahead of an Opus encoder in 48 kHz samples, which decoders that care cut off. */
export const ENCODER_PRE_SKIP = 312;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, i) => {
  let r = i << 24;
  for (let bit = 0; bit < 8; bit++) r = r & 0x80000000 ? (r << 1) ^ 0x04c11db7 : r << 1;
  return r >>> 0;
});

/** Ogg's CRC-32 (polynomial 0x04c11db7, no reflection, start 0) of `bytes`. */
export function crc32(bytes) {
  let crc = 0;
  for (const byte of bytes) crc = (crc << 8) ^ CRC_TABLE[((crc >>> 24) ^ byte) & 0xff];
  return crc >>> 0;
}

/** The OpusHead packet of a mono stream. */
export function opusHead({ preSkip = ENCODER_PRE_SKIP, inputRate = 24000 } = {}) {
  const head = new Uint8Array(19);
  const view = new DataView(head.buffer);
  head.set(ascii("OpusHead"));
  head[8] = 1; // version
  head[9] = 1; // channels
  view.setUint16(10, preSkip, true);
  view.setUint32(12, inputRate, true);
  return head; // gain 0, mapping family 0
}

/** The OpusTags packet, without user comments. */
export function opusTags(vendor = "rustymoshi") {
  const name = ascii(vendor);
  const tags = new Uint8Array(16 + name.length);
  tags.set(ascii("OpusTags"));
  new DataView(tags.buffer).setUint32(8, name.length, true);
  tags.set(name, 12);
  return tags;
}

/** Samples at 48 kHz that an Opus packet holds, from its table-of-contents byte (RFC 6716 section 3.1); 0 if broken. */
export function packetSamples(packet) {
  if (packet.length === 0) return 0;
  const config = packet[0] >> 3;
  let frame;
  if (config < 12) frame = [480, 960, 1920, 2880][config & 3];
  else if (config < 16) frame = [480, 960][config & 1];
  else frame = [120, 240, 480, 960][config & 3];
  const code = packet[0] & 3;
  if (code === 0) return frame;
  if (code < 3) return 2 * frame;
  return packet.length > 1 ? frame * (packet[1] & 0x3f) : 0;
}

/** Writes one logical stream: `headers()` once, then `page(packet)` for every packet. */
export class OggMuxer {
  constructor({ serial = randomSerial(), preSkip, inputRate } = {}) {
    this.serial = serial >>> 0;
    this.head = { preSkip, inputRate };
    this.sequence = 0;
    this.granule = 0;
  }

  /** Page 0 with OpusHead and page 1 with OpusTags. */
  headers() {
    const head = this.#page(opusHead(this.head), FLAG_BOS);
    const tags = this.#page(opusTags(), 0);
    return concat([head, tags]);
  }

  /** One page around one packet. */
  page(packet) {
    this.granule += packetSamples(packet);
    return this.#page(packet, 0);
  }

  #page(packet, flags) {
    const segments = Math.floor(packet.length / 255) + 1;
    const page = new Uint8Array(HEADER_BYTES + segments + packet.length);
    const view = new DataView(page.buffer);
    page.set(CAPTURE);
    page[5] = flags;
    view.setBigUint64(6, BigInt(this.granule), true);
    view.setUint32(14, this.serial, true);
    view.setUint32(18, this.sequence++, true);
    page[26] = segments;
    page.fill(255, HEADER_BYTES, HEADER_BYTES + segments - 1);
    page[HEADER_BYTES + segments - 1] = packet.length % 255;
    page.set(packet, HEADER_BYTES + segments);
    view.setUint32(22, crc32(page), true);
    return page;
  }
}

/**
 * Finds packets in bytes that arrive in pieces. `push(bytes)` returns the Opus packets completed by them, in order, as
 * `{ data, granule }` with `granule` the position after the page's last packet, in 48 kHz samples, on that last packet
 * and null on the others. Header packets are swallowed. Damaged pages are skipped and counted in `damaged`.
 */
export class OggDemuxer {
  constructor() {
    this.rest = new Uint8Array(0);
    this.partial = null;
    this.serial = null;
    this.sequence = null;
    this.damaged = 0;
    this.lostPages = 0;
    this.streams = 0;
  }

  push(bytes) {
    let data = this.rest.length ? concat([this.rest, bytes]) : bytes;
    const packets = [];
    for (;;) {
      const start = findCapture(data);
      data = data.subarray(start);
      const size = pageSize(data);
      if (size === null || size > data.length) break;
      const page = data.subarray(0, size);
      if (checksumHolds(page)) {
        this.#readPage(page, packets);
        data = data.subarray(size);
      } else {
        this.damaged += 1;
        data = data.subarray(1); // look for the next capture pattern inside what claimed to be a page
      }
    }
    this.rest = data.slice(Math.max(0, data.length - LONGEST_PAGE));
    return packets;
  }

  #readPage(page, packets) {
    const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
    const flags = page[5];
    const serial = view.getUint32(14, true);
    const sequence = view.getUint32(18, true);
    const gap = serial === this.serial && sequence !== this.sequence;
    if (gap) this.lostPages += 1;
    if (serial !== this.serial) this.streams += 1;
    if (gap || serial !== this.serial || !(flags & FLAG_CONTINUED)) this.partial = null;
    this.serial = serial;
    this.sequence = (sequence + 1) >>> 0;
    const granule = Number(view.getBigInt64(6, true));
    this.#readSegments(page, flags, granule, packets);
  }

  #readSegments(page, flags, granule, packets) {
    const segments = page[26];
    let position = HEADER_BYTES + segments;
    let begin = position;
    // The tail of a packet whose beginning was lost is of no use.
    let orphan = Boolean(flags & FLAG_CONTINUED) && this.partial === null;
    const first = packets.length;
    for (let i = 0; i < segments; i++) {
      const lacing = page[HEADER_BYTES + i];
      position += lacing;
      if (lacing === 255) continue;
      if (!orphan) this.#finish(page.subarray(begin, position), packets);
      orphan = false;
      this.partial = null;
      begin = position;
    }
    if (packets.length > first && granule >= 0) packets[packets.length - 1].granule = granule;
    if (position > begin && !orphan) this.#keep(page.subarray(begin, position));
  }

  #finish(tail, packets) {
    const data = this.partial ? concat([this.partial, tail]) : tail.slice();
    if (data.length === 0 || startsWith(data, "OpusHead") || startsWith(data, "OpusTags")) return;
    packets.push({ data, granule: null });
  }

  #keep(piece) {
    const whole = this.partial ? concat([this.partial, piece]) : piece.slice();
    this.partial = whole.length <= LONGEST_PACKET ? whole : null;
  }
}

/** Offset of the first "OggS", or of a tail that may become one. */
function findCapture(data) {
  for (let i = 0; i < data.length; i++) {
    let n = 0;
    while (n < 4 && i + n < data.length && data[i + n] === CAPTURE[n]) n += 1;
    if (n === 4 || (n > 0 && i + n === data.length)) return i;
  }
  return data.length;
}

/** Bytes of the page at the start of `data`, or null while too little has come to know. */
function pageSize(data) {
  if (data.length < HEADER_BYTES || data.length < HEADER_BYTES + data[26]) return null;
  let size = HEADER_BYTES + data[26];
  for (let i = 0; i < data[26]; i++) size += data[HEADER_BYTES + i];
  return size;
}

function checksumHolds(page) {
  const copy = page.slice();
  const view = new DataView(copy.buffer);
  const stated = view.getUint32(22, true);
  view.setUint32(22, 0);
  return crc32(copy) === stated;
}

function startsWith(bytes, word) {
  return bytes.length >= word.length && ascii(word).every((byte, i) => bytes[i] === byte);
}

function ascii(word) {
  return Uint8Array.from(word, (letter) => letter.charCodeAt(0));
}

function concat(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function randomSerial() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}
