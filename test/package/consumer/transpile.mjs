import { createTranspiler } from 'pg-module-cache/transpile';

const request = {
  realm: 'https://a.example/',
  path: 'a.ts',
  source: "import './b'; export const a: number = 1;",
};
try {
  const transpiler = await createTranspiler({ sourceMaps: 'none' });
  const { body, dependencyKeys } = await transpiler.transpile(request);
  await transpiler.close();
  console.log(JSON.stringify({ body, dependencyKeys }));
} catch ({ code, message, hint }) {
  console.log(JSON.stringify({ code, message, hint }));
}
