// Tests run the built package: a path into src/ is mapped to the module that ships in dist/, or to another build.
const build = process.env.TEST_DIST ?? '<rootDir>/dist';

// biome-ignore lint/style/noDefaultExport: jest loads its configuration by the default export
export default {
  testEnvironment: 'node',
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '\\.ts$': 'babel-jest' },
  moduleNameMapper: {
    '^(?:\\.{1,2}/)+src/(.*)\\.js$': `${build}/$1.js`,
    '^(\\.{1,2}/.*support/.*)\\.js$': '$1.ts',
    '^(\\./checker)\\.js$': '$1.ts',
  },
  globalSetup: '<rootDir>/test/support/global-setup.mjs',
  globalTeardown: '<rootDir>/test/support/global-teardown.mjs',
  testTimeout: 60_000,
  maxWorkers: 2,
  reporters: ['default', '<rootDir>/test/support/count-reporter.mjs'],
};
