import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { LRUCache } from 'lru-cache';
import Negotiator from 'negotiator';

/** A content coding; `identity` is none. */
export type Coding = 'identity' | 'gzip' | 'br' | 'zstd';

type Compress = (body: Uint8Array) => Promise<Uint8Array>;

/** Levels that compress a module in a few ms: each is compressed once, but while somebody waits for it. */
const BROTLI_QUALITY = 5;
const { BROTLI_PARAM_QUALITY, BROTLI_PARAM_SIZE_HINT } = zlib.constants;

const brotli = promisify(zlib.brotliCompress);
// Node has it from 22.15 on; the types are those of 20.
const { zstdCompress } = zlib as {
  zstdCompress?: (body: Uint8Array, done: (error: Error | null, result: Uint8Array) => void) => void;
};

const compressors: { readonly [name in Coding]?: Compress } = {
  br: (body) =>
    brotli(body, {
      params: { [BROTLI_PARAM_QUALITY]: BROTLI_QUALITY, [BROTLI_PARAM_SIZE_HINT]: body.byteLength },
    }),
  ...(zstdCompress === undefined ? {} : { zstd: promisify(zstdCompress) }),
  gzip: promisify(zlib.gzip),
};
const codings = [...Object.keys(compressors), 'identity'] as Coding[];

/** The types do not have the option yet. */
interface Preferring {
  encoding(available: readonly string[], options: { preferred: readonly string[] }): Coding | undefined;
}

/** The best coding that both sides know. What refuses everything, identity included, gets it nevertheless. */
export function negotiateCoding(acceptEncoding: string | null): Coding {
  if (acceptEncoding === null) return 'identity';
  const negotiator = new Negotiator({ headers: { 'accept-encoding': acceptEncoding } }) as Negotiator &
    Preferring;
  return negotiator.encoding(codings, { preferred: codings }) ?? 'identity';
}

/** Compressed bodies, each made once in this process and off its main thread. */
export interface Compressor {
  /** @param etag of the body in this coding: it says whether a body was compressed before */
  compress(body: string, coding: Exclude<Coding, 'identity'>, etag: string): Promise<Uint8Array<ArrayBuffer>>;
}

/** @param maxBytes bound for the compressed bodies that are remembered together */
export function createCompressor(maxBytes: number): Compressor {
  const remembered = new LRUCache<string, Uint8Array, { body: string; coding: Coding }>({
    maxSize: maxBytes,
    sizeCalculation: ({ byteLength }, etag) => byteLength + etag.length,
    // Who waits for it gets it, even if there is no room to remember it.
    ignoreFetchAbort: true,
    fetchMethod: (_, __, { context: { body, coding } }) =>
      (compressors[coding] as Compress)(Buffer.from(body)),
  });
  return {
    compress: async (body, coding, etag) =>
      (await remembered.forceFetch(etag, { context: { body, coding } })) as Uint8Array<ArrayBuffer>,
  };
}
