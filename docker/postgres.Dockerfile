# Postgres with the extension module_cache, which a new data folder gets in its default database.
FROM postgres:18
COPY module_cache.control sql/ /tmp/module_cache/
# What `make install` does, without make and the packages that it needs.
RUN cd /tmp/module_cache && to="/usr/share/postgresql/$PG_MAJOR/extension" \
 && version=$(sed -n "s/^default_version = '\(.*\)'/\1/p" module_cache.control) \
 && cat extension-guard.psql [0-9]*.sql > "$to/module_cache--$version.sql" \
 && for file in upgrades/*.sql; do cat extension-guard.psql "$file" > "$to/module_cache--${file#upgrades/}"; done \
 && cp module_cache.control "$to"
RUN echo 'create extension module_cache;' > /docker-entrypoint-initdb.d/module_cache.sql
