import { entriesOf, eachRead } from './support/history.js';
import { readdirSync } from 'node:fs';
const [,, F, peer, art] = process.argv;
let parts: any;
for (const f of readdirSync(F)) if (f.endsWith('.jsonl')) for (const e of entriesOf(F,f)) if (e.type==='artifact' && e.artifact===Number(art)) parts=e;
console.log(JSON.stringify(parts));
const outs=new Map(); const ws:any[]=[];
for (const f of readdirSync(F)) if (f.endsWith('.jsonl')) for (const e of entriesOf(F,f)) { if (e.type==='outcome') outs.set(e.write,e); if (e.type==='write') ws.push({...e,f}); if(e.type==='production'&&e.artifact===Number(art)) console.log(JSON.stringify(e)); }
for (const [t,v] of parts.parts) { const l=ws.flatMap(w=>w.versions.filter((x:any)=>x.thing===t).map((x:any)=>({w:w.write,b:w.began,c:w.commits,iso:w.isolation,...x,o:outs.get(w.write)}))).sort((a,b)=>a.seq-b.seq); const i=l.findIndex(x=>x.version===v); for (const x of l.slice(Math.max(0,i),i+4)) console.log(t,v,'seq',x.seq,x.version,'w',x.w,x.b?.toFixed(1),x.c?.toFixed(1),x.iso,x.o?.outcome,x.o?.at?.toFixed(1),x.o?.code??''); }
const rs:any[]=[]; await eachRead(F,`peer-${peer}.reads`,r=>{ if(r.artifact===Number(art)) rs.push([r.began.toFixed(1),r.ended.toFixed(1),r.mode,r.cached]); });
console.log(rs.length, rs.slice(0,3), rs.slice(-5));
for (const e of entriesOf(F,`peer-${peer}.jsonl`)) if (e.type==='failed read') console.log(e.at.toFixed(1),e.code,e.message.slice(0,80));
