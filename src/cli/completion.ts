import type { Argument, Command, Option } from 'commander';

/** Completion scripts for shells, made from the commands and options as commander knows them. */

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** What comes after a word. */
type Values = 'nothing' | 'anything' | 'files' | 'folders' | readonly string[];

interface Switch {
  /** Such as `-h` and `--help`. */
  readonly flags: readonly string[];
  readonly description: string;
  readonly values: Values;
}

interface Entry {
  readonly name: string;
  readonly description: string;
  readonly switches: readonly Switch[];
  /** Of its arguments. */
  readonly values: Values;
}

export function completionScript(program: Command, shell: Shell): string {
  const commands = program.commands.map(describeCommand);
  const name = program.name();
  const own = describeCommand(program).switches;
  return `${{ bash: bashScript, zsh: zshScript, fish: fishScript }[shell](name, own, commands).join('\n')}\n`;
}

function describeCommand(command: Command): Entry {
  const help = command.createHelp();
  return {
    name: command.name(),
    description: help.subcommandDescription(command),
    switches: help.visibleOptions(command).map(describeOption),
    values: valuesOf(command.registeredArguments[0]),
  };
}

const describeOption = (option: Option): Switch => ({
  flags: [option.short, option.long].filter((flag) => flag != null),
  description: option.description,
  values: option.required || option.optional ? valuesOf(option) : 'nothing',
});

/** What it takes is told by its choices, or by the name in its angle brackets. */
function valuesOf(taker: Argument | Option | undefined): Values {
  if (taker === undefined) return 'nothing';
  if (taker.argChoices !== undefined) return taker.argChoices;
  const name = 'flags' in taker ? taker.flags : taker.name();
  if (/\bdir\b/.test(name)) return 'folders';
  return /<file>/.test(name) ? 'files' : 'anything';
}

const words = (entry: Pick<Entry, 'switches'>): string[] => entry.switches.flatMap(({ flags }) => flags);
const functionName = (name: string): string => `_${name.replaceAll('-', '_')}`;

function bashScript(name: string, own: readonly Switch[], commands: readonly Entry[]): string[] {
  const entries = [{ name: '', switches: own, values: commands.map((command) => command.name) }, ...commands];
  const cases = new Map<string, string[]>();
  for (const entry of entries) {
    for (const { flags, values } of entry.switches) {
      if (values === 'nothing') continue;
      const patterns = flags.map((flag) => quote(`${entry.name} ${flag}`));
      cases.set(bashReply(values), [...(cases.get(bashReply(values)) ?? []), ...patterns]);
    }
  }
  return [
    `# bash completion for ${name}: source it, or put it into ~/.local/share/bash-completion/completions/${name}`,
    `${functionName(name)}() {`,
    `  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} command= index`,
    '  COMPREPLY=()',
    '  for ((index = 1; index < COMP_CWORD; index++)); do',
    `    case \${COMP_WORDS[index]} in`,
    `      ${commands.map((command) => command.name).join('|')}) command=\${COMP_WORDS[index]}; break ;;`,
    '    esac',
    '  done',
    '  case "$command $previous" in',
    ...[...cases].map(([reply, patterns]) => `    ${patterns.join('|')}) ${reply} ;;`),
    '  esac',
    '  if [[ $current == -* ]]; then',
    '    case $command in',
    ...entries.map((entry) => `      ${quote(entry.name)}) ${bashReply(words(entry))} ;;`),
    '    esac',
    '  fi',
    '  case $command in',
    ...entries
      .filter(({ values }) => values !== 'nothing' && values !== 'anything')
      .map((entry) => `    ${quote(entry.name)}) ${bashReply(entry.values)} ;;`),
    '  esac',
    '}',
    `complete -F ${functionName(name)} ${name}`,
  ];
}

/** Names of files may hold blanks. The bash of macOS has no compopt. */
function bashReply(values: Values): string {
  if (values === 'nothing' || values === 'anything') return 'return';
  if (values !== 'files' && values !== 'folders')
    return `COMPREPLY=($(compgen -W ${quote(values.join(' '))} -- "$current")); return`;
  const action = values === 'files' ? '-f' : '-d';
  return `compopt -o filenames 2> /dev/null; local IFS=$'\\n'; COMPREPLY=($(compgen ${action} -- "$current")); return`;
}

function zshScript(name: string, own: readonly Switch[], commands: readonly Entry[]): string[] {
  const escaped = (text: string): string => text.replace(/[\\[\]:]/g, '\\$&');
  const action = (values: Values): string => {
    if (values === 'nothing') return '';
    if (values === 'files') return ':file:_files';
    if (values === 'folders') return ':folder:_files -/';
    return values === 'anything' ? ':value: ' : `:value:(${values.join(' ')})`;
  };
  const specs = (entry: Pick<Entry, 'switches' | 'values'>): string[] => [
    ...entry.switches.flatMap(({ flags, description, values }) =>
      flags.map((flag) => quote(`${flag}[${escaped(description)}]${action(values)}`)),
    ),
    ...(entry.values === 'nothing' ? [] : [quote(`*${action(entry.values)}`)]),
  ];
  return [
    `#compdef ${name}`,
    `# zsh completion for ${name}: source it after compinit, or put it as _${name} into a folder of $fpath`,
    `${functionName(name)}() {`,
    '  local -a commands',
    '  local state line',
    '  commands=(',
    ...commands.map((command) => `    ${quote(`${command.name}:${escaped(command.description)}`)}`),
    '  )',
    `  _arguments -C ${specs({ switches: own, values: 'nothing' }).join(' ')} '1: :->command' '*:: :->rest' && return`,
    '  case $state in',
    `    command) _describe 'command' commands ;;`,
    '    rest)',
    '      case $line[1] in',
    ...commands.map((command) => `        ${command.name}) _arguments ${specs(command).join(' ')} ;;`),
    '      esac ;;',
    '  esac',
    '}',
    // Loaded by its name it is called at once; sourced it only announces itself.
    `if [ "$funcstack[1]" = "_${name}" ]; then ${functionName(name)} "$@"; else compdef ${functionName(name)} ${name}; fi`,
  ];
}

function fishScript(name: string, own: readonly Switch[], commands: readonly Entry[]): string[] {
  const takes = (values: Values): string => {
    if (values === 'nothing') return '';
    if (values === 'files') return ' -r -F';
    if (values === 'folders') return " -x -a '(__fish_complete_directories)'";
    return values === 'anything' ? ' -x' : ` -x -a ${quoteFish(values.join(' '))}`;
  };
  const named = (flags: readonly string[]): string =>
    flags.map((flag) => (flag.startsWith('--') ? ` -l ${flag.slice(2)}` : ` -s ${flag.slice(1)}`)).join('');
  const line = (condition: string, rest: string): string =>
    `complete -c ${name} -n ${quoteFish(condition)}${rest}`;
  const within = (command: string): string => `__fish_seen_subcommand_from ${command}`;
  return [
    `# fish completion for ${name}: put it into ~/.config/fish/completions/${name}.fish`,
    `complete -c ${name} -f`,
    ...own.map(({ flags, description }) =>
      line('__fish_use_subcommand', `${named(flags)} -d ${quoteFish(description)}`),
    ),
    ...commands.flatMap((command) => [
      line('__fish_use_subcommand', ` -a ${command.name} -d ${quoteFish(command.description)}`),
      ...command.switches.map(({ flags, description, values }) =>
        line(within(command.name), `${named(flags)}${takes(values)} -d ${quoteFish(description)}`),
      ),
      ...(command.values === 'nothing' || command.values === 'anything'
        ? []
        : [line(within(command.name), takes(command.values).replace(' -x', ' -f').replace(' -r -F', ' -F'))]),
    ]),
  ];
}

/** For bash and zsh. */
const quote = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;
const quoteFish = (text: string): string => `'${text.replace(/['\\]/g, '\\$&')}'`;
