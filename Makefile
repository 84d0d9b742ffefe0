# What a user needs is `make demo` and `make test`: both install what they need, and neither needs pg_config, a running
# Postgres or Docker. The extension's own targets (all, install, installcheck, uninstall, clean) use PGXS and need pg_config.

EXTENSION = module_cache
EXTVERSION = 0.2.0
SCRIPT = $(EXTENSION)--$(EXTVERSION).sql
UPGRADES = $(patsubst sql/upgrades/%.sql,$(EXTENSION)--%.sql,$(wildcard sql/upgrades/*.sql))
DATA_built = $(SCRIPT) $(UPGRADES)
SQL = $(sort $(wildcard sql/[0-9]*.sql))
SOURCES = $(shell find src -type f)

# In this order: each uses what the first one installed, and the last one takes it out again.
REGRESS = install cache errors views roles garbage uninstall
REGRESS_OPTS = --inputdir=test/regress --outputdir=$(TEST_OUTPUT)/regress
ISOLATION = $(notdir $(basename $(sort $(wildcard test/isolation/specs/*.spec))))
ISOLATION_OPTS = --inputdir=test/isolation --outputdir=$(TEST_OUTPUT)/isolation \
  --load-extension=$(EXTENSION) --launcher=test/isolation/without-ids.sh
TEST_OUTPUT ?= test/output

.DEFAULT_GOAL := extension

.PHONY: extension
extension: $(DATA_built) ## Build the scripts that `create extension module_cache` and `alter extension` run

$(SCRIPT): sql/extension-guard.psql $(SQL)
	cat $^ > $@

$(UPGRADES): $(EXTENSION)--%.sql: sql/extension-guard.psql sql/upgrades/%.sql
	cat $^ > $@

ifneq ($(filter all install installcheck uninstall clean,$(MAKECMDGOALS)),)
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2> /dev/null)
ifeq ($(wildcard $(PGXS)),)
$(error $(PG_CONFIG) tells of no PGXS: set PG_CONFIG, or install what extensions are built with (Debian: postgresql-server-dev-15))
endif
include $(PGXS)

# pg_regress makes only the last folder of the path.
installcheck: $(TEST_OUTPUT)
$(TEST_OUTPUT):
	mkdir -p $@
else

# Not npm ci: it refuses the lock file where a mirror lacks the optional packages of other platforms.
node_modules/.installed: package.json package-lock.json
	npm install --no-save --ignore-scripts
	touch $@

dist/.built: node_modules/.installed tsconfig.json tsconfig.build.json $(SOURCES)
	npm run build
	touch $@

.PHONY: demo
demo: dist/.built ## Serve rxjs from four processes, edit a module, print what happened (KEEP=1 goes on serving)
	KEEP=$(KEEP) node examples/demo.mjs

.PHONY: test
test: dist/.built ## Run all tests on an embedded Postgres (TEST=path for some of them)
	npm test -- $(TEST)

.PHONY: test-all
test-all: dist/.built ## The whole suite on PostgreSQL 15, 16, 17 and 18 (MAJORS="15 18" and TEST=path for less)
	MAJORS="$(MAJORS)" node test/support/test-all.mjs $(TEST)

.PHONY: test-node
test-node: dist/.built ## The packed package on Node 22 and 24 from npm (NODES=24 and TEST=path for others)
	set -e; for version in $(or $(NODES),22 24); do npx -y -p node@$$version -- npm test -- $(or $(TEST),test/package); done

.PHONY: test-pgbouncer
test-pgbouncer: dist/.built ## Client tests with a transaction-pooling PgBouncer in front of the pool (PGBOUNCER=path names it)
	@PATH="$$PATH:/usr/sbin:/usr/local/sbin" command -v "$${PGBOUNCER:-pgbouncer}" > /dev/null || { echo 'there is no pgbouncer: install it (apt-get install pgbouncer), or name it by PGBOUNCER' >&2; exit 1; }
	TEST_POOLER=pgbouncer npm test -- $(or $(TEST),test/client)

.PHONY: check-extension
check-extension: ## The extension on a server of its own: install, then installcheck (needs pg_config, changes nothing there)
	test/extension.sh

.PHONY: mutations
mutations: dist/.built ## Take out each guard of the client in turn: its test has to fail (ONLY=regexp for some of them)
	ONLY="$(ONLY)" npm run mutations

.PHONY: model
model: ## Check the protocol's model with spin: each configuration, each guard taken out in turn; needs spin and gcc
	@for tool in spin gcc; do command -v $$tool > /dev/null || { echo "there is no $$tool: apt-get install spin gcc libc6-dev" >&2; exit 1; }; done
	ONLY="$(ONLY)" node test/model/run.mjs

.PHONY: soak
soak: dist/.built ## A fleet under faults for MINUTES=2, its history checked (SEED=n; ARGS="--help" for all options)
	npm run soak -- --minutes $(or $(MINUTES),2) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: prove
prove: dist/.built ## Take guards out of such a fleet one by one: the checker has to find each (ONLY=text for some of them)
	npm run prove -- --only "$(ONLY)"

.PHONY: check
check: node_modules/.installed ## Formatter, linter and types
	npm run check

.PHONY: bench
bench: dist/.built ## Measure against the simplest thing that could do the job
	npm run bench

.PHONY: migrations
migrations: dist/.built ## Write the committed migration from sql/
	node migrations/commit.mjs

.PHONY: distclean
distclean: ## Remove everything that was built or installed here
	rm -rf dist node_modules coverage test/output $(DATA_built)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo '  install          Install the extension (PGXS, honours PG_CONFIG)'
	@echo '  installcheck     Test it on a running server, found by PGHOST and the like (PGXS, honours PG_CONFIG)'
	@echo '  uninstall        Remove the files that install has put there (PGXS, honours PG_CONFIG)'
	@echo '  all, clean       Build, or remove, what install copies (PGXS, honours PG_CONFIG)'

endif
