# What a user needs is `make demo` and `make test`: both install what they need, and neither needs pg_config, a running
# Postgres or Docker. The extension's own targets (install, installcheck, uninstall) use PGXS and need pg_config.

EXTENSION = module_cache
EXTVERSION = 0.1.0
SCRIPT = $(EXTENSION)--$(EXTVERSION).sql
DATA_built = $(SCRIPT)
SQL = $(sort $(wildcard sql/[0-9]*.sql))
SOURCES = $(shell find src -name '*.ts')

.DEFAULT_GOAL := extension

.PHONY: extension
extension: $(SCRIPT) ## Build the script that `create extension module_cache` runs

$(SCRIPT): sql/extension-guard.psql $(SQL)
	cat $^ > $@

ifneq ($(filter install uninstall installdirs installcheck,$(MAKECMDGOALS)),)
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
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
	rm -rf dist node_modules coverage $(SCRIPT)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo '  install      Install the extension (PGXS, honours PG_CONFIG)'

endif
