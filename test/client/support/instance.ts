import postgres, { type Options, type PostgresType, type Sql } from 'postgres';
import { instanceThroughPooler } from '../support/pooler.js';

/** A postgres.js instance of the application's own, which fails when it is told to. */
export interface Instance {
  readonly sql: Sql;
  /** The next query that contains this text fails on the server. */
  failNext(text: string): void;
  close(): Promise<void>;
}

export function openInstance(url: string, options: Options<Record<string, PostgresType>> = {}): Instance {
  const way = instanceThroughPooler(url);
  const instance = postgres(way.url, { max: 4, onnotice: () => {}, ...options });
  const failing: string[] = [];
  const sql = new Proxy(instance, {
    apply(target, self, args) {
      const [strings] = args as [TemplateStringsArray | undefined];
      const index = failing.findIndex((text) => strings?.join?.('').includes(text));
      if (index < 0) return Reflect.apply(target, self, args);
      failing.splice(index, 1);
      return target`select 1 / 0`;
    },
  });
  way.opened(sql);
  return {
    sql,
    failNext: (text) => {
      failing.push(text);
    },
    close: () => instance.end({ timeout: 1 }),
  };
}
