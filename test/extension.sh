#!/usr/bin/env bash
# Installs the extension and runs `make installcheck` (pg_regress and the isolation tester) on a server of its own.
#
# Postgres finds its files by the place of its program. So a tree of its own, with copies of the programs and links to
# everything else, is an installation that an extension can be added to: the system's one stays as it is, and it takes
# no rights to run this. PG_CONFIG names another installation than the one of the pg_config in the path.
# ACCEPT=1 takes what comes out as what is expected from now on, to be read through before it is committed.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

pg_config=$(command -v "${PG_CONFIG:-pg_config}") ||
  fail "${PG_CONFIG:-pg_config} is missing: set PG_CONFIG, or on Debian: apt-get install postgresql-15 postgresql-server-dev-15"
version=$("$pg_config" --version)
major=$(sed -E 's/^PostgreSQL ([0-9]+).*/\1/' <<<"$version")
[[ $major =~ ^[0-9]+$ && $major -ge 15 ]] || fail "$pg_config is of $version: 15 is the oldest supported"
bin=$("$pg_config" --bindir)
share=$("$pg_config" --sharedir)
lib=$("$pg_config" --pkglibdir)
for file in "$bin/pg_config" "$("$pg_config" --pgxs)" "$lib"/pgxs/src/test/{regress/pg_regress,isolation/pg_isolation_regress}; do
  [[ -e $file ]] ||
    fail "$file is missing: install what extensions are built with (Debian: apt-get install postgresql-server-dev-$major)"
done
for program in postgres initdb pg_ctl psql; do
  [[ -x $bin/$program ]] ||
    fail "$bin/$program is missing: install the server and its client (Debian: apt-get install postgresql-$major)"
done

root=$(mktemp -d "${TMPDIR:-/tmp}/module-cache-extension-XXXXXX")
cleanup() {
  [[ ! -e $root/server/data/postmaster.pid ]] || server pg_ctl stop --silent --mode=immediate || true
  rm -rf "$root"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
chmod 755 "$root"
mkdir "$root/server"

# Postgres refuses to run as root, and its programs to start in a folder that they cannot read.
user=$(id -un)
if [[ $(id -u) -eq 0 ]]; then
  user=postgres
  chown $user "$root/server" 2>/dev/null ||
    fail 'there is no user postgres to run the server: add it, or run this as another user'
fi
server() {
  local program=$1
  shift
  local command=("$root$bin/$program" --pgdata="$root/server/data" "$@")
  [[ $user = "$(id -un)" ]] || command=(runuser -u "$user" -- "${command[@]}")
  (cd "$root/server" && "${command[@]}")
}

mkdir -p "$root$bin" "$root$share/extension" "$root$lib"
cp -p "$bin"/{pg_config,postgres,initdb,pg_ctl,psql} "$root$bin"
for folder in "$lib" "$share" "$share/extension"; do
  for file in "$folder"/*; do
    [[ -e $root$file ]] || ln -s "$file" "$root$file"
  done
done
rm -f "$root$share"/extension/module_cache{.control,--*.sql}

make --silent install PG_CONFIG="$root$bin/pg_config"

# Whatever the caller's variables say about connections, it is this server that is tested.
unset "${!PG@}"
server initdb --username=postgres --auth=trust --no-locale --encoding=UTF8 \
  --no-sync >"$root/initdb.log" 2>&1 || fail "$(cat "$root/initdb.log")"
# A socket and no port. Without autovacuum nothing else takes part in what the tests look at.
server pg_ctl start --silent --log="$root/server/log" \
  --options="-k '$root/server' -c listen_addresses='' -c fsync=off -c autovacuum=off" ||
  fail "$(cat "$root/server/log")"

# A step that should not wait and does is given up after so many seconds.
export PGHOST=$root/server PGUSER=postgres PGISOLATIONTIMEOUT=20
status=0
make --silent ${ACCEPT:+--ignore-errors} installcheck PG_CONFIG="$root$bin/pg_config" TEST_OUTPUT="$root/output" || status=$?
if [[ -n ${ACCEPT:-} ]]; then
  for suite in regress isolation; do
    cp "$root/output/$suite"/results/*.out "test/$suite/expected"
  done
  echo 'accepted: look at what changed in test/*/expected'
  exit
elif [[ $status -ne 0 ]]; then
  cat "$root"/output/*/regression.diffs >&2 || true
  fail "the extension does not do on $version what test/regress and test/isolation expect"
fi
echo "the extension works on $version"
