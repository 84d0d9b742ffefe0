-- Misuse raises: the message has no values, the detail has them, the hint says what to do. Losing a race is no error.
\set SHOW_CONTEXT never
\set realm '''https://errors.example/'''
-- MC001: what names no module.
select * from module_cache.get('https://errors.example', 'a.ts');
\echo :LAST_ERROR_SQLSTATE
select * from module_cache.get('https://errors.example/?v=1', 'a.ts');
select * from module_cache.get(null, 'a.ts');
select * from module_cache.get(:realm, '../a.ts');
\echo :LAST_ERROR_SQLSTATE
select * from module_cache.get(:realm, repeat('long/', 400) || 'a.ts');
select * from module_cache.get(:realm, 'a.ts', '');
\echo :LAST_ERROR_SQLSTATE
select * from module_cache.get(:realm, 'a.ts', 'transpile', null);
\echo :LAST_ERROR_SQLSTATE
select * from module_cache.put(:realm, '/a.ts', 'transpile', '', 'x', null, '{}', null);
\echo :LAST_ERROR_SQLSTATE
select * from module_cache.put(:realm, 'a.ts', 'transpile', '', 'x', null, array['b', 'c?d'], null);
\echo :LAST_ERROR_SQLSTATE
select module_cache.claim(:realm, '', 'transpile', '');
select module_cache.release(:realm, 'a.ts#1', 'transpile', '');
select module_cache.clear_realm('errors.example/');
\echo :LAST_ERROR_SQLSTATE
select * from module_cache.invalidate('errors.example/', array['a.ts']);
-- An odd path is another matter: the transaction that writes the source must not fail over it.
select * from module_cache.invalidate(:realm, array['../a.ts', null, '']);

-- MC002: what is no token.
select * from module_cache.put(:realm, 'a.ts', 'transpile', '', 'x', null, '{}', 'yesterday');
\echo :LAST_ERROR_SQLSTATE
select module_cache.is_current(:realm, 'a.ts', 'transpile', '', 'yesterday');
select * from module_cache.changes_since('yesterday');
\echo :LAST_ERROR_SQLSTATE
-- One that has seen what has not happened yet.
select regexp_replace(token, '/.*', '/9000000000000000000:9000000000000000000:') as future
from module_cache.get(:realm, 'a.ts') \gset
select * from module_cache.put(:realm, 'a.ts', 'transpile', '', 'x', null, '{}', :'future');
\echo :LAST_ERROR_SQLSTATE
select * from module_cache.changes_since(:'future');

-- MC003: other arguments.
select * from module_cache.put(:realm, 'a.ts', 'transpile', '', null, null, '{}', null);
\echo :LAST_ERROR_SQLSTATE
select * from module_cache.put(:realm, 'a.ts', 'transpile', '', 'x', null, '{}', null, '0 seconds');
\echo :LAST_ERROR_SQLSTATE
select * from module_cache.collect_garbage('-1 hour');
\echo :LAST_ERROR_SQLSTATE
select * from module_cache.collect_garbage('1 hour', 0);
