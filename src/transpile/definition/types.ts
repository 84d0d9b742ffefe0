/**
 * What a module says about itself, as JSON: read from its own text, before anything is transformed or dropped. All
 * fields are always there. Texts of types, defaults and arguments are as their author wrote them.
 */
export interface ModuleDefinition {
  /** URL of the realm, ending in `/`. */
  realm: string;
  /** Canonical path inside the realm. */
  path: string;
  /**
   * In order of appearance. A name can occur more than once: TypeScript merges an interface with a constant, a
   * namespace with a class.
   */
  exports: ExportDefinition[];
  /** In order of appearance. What the module only exports from is not here, but in `exports`. */
  imports: ImportDefinition[];
  /** The first doc comment, if it is about the file and not about a declaration. */
  doc: Documentation | null;
}

/** Line and column from 1 on, in UTF-16 code units. */
export interface Place {
  line: number;
  column: number;
}

export interface Documentation {
  /** Before the first tag, without the stars. */
  text: string;
  tags: DocumentationTag[];
}

export interface DocumentationTag {
  /** Without the `@`. */
  name: string;
  text: string;
}

export type ExportDefinition =
  | FunctionExport
  | ClassExport
  | VariableExport
  | TypeExport
  | InterfaceExport
  | EnumExport
  | NamespaceExport
  | Reexport
  | OtherExport;

export interface ExportBase {
  /** What importers call it: `default` included, `*` for all of another module, `export=` for `export = …`. */
  name: string;
  /** What the module itself calls it; null if it has no name there. */
  local: string | null;
  /** Nothing is left of it at run time: a type, an interface, only declared, or exported as a type. */
  typeOnly: boolean;
  doc: Documentation | null;
  /** Of the name in its declaration, or of the whole if it has none. */
  place: Place;
}

/** `declare`: the declaration says so, and stands for something that exists elsewhere. */
interface Declared {
  declare: boolean;
}

export interface Signature {
  /** With the angle brackets. */
  typeParameters: string | null;
  parameters: ParameterDefinition[];
  returns: string | null;
}

export interface FunctionShape extends Signature {
  async: boolean;
  generator: boolean;
}

export interface Overload extends Signature {
  doc: Documentation | null;
  place: Place;
}

export interface ClassShape {
  abstract: boolean;
  typeParameters: string | null;
  extends: string | null;
  implements: string[];
  decorators: DecoratorDefinition[];
  members: MemberDefinition[];
}

export interface FunctionExport extends ExportBase, Declared, FunctionShape {
  kind: 'function';
  /** Those that callers see; empty for a function with one signature. */
  overloads: Overload[];
}

export interface ClassExport extends ExportBase, Declared, ClassShape {
  kind: 'class';
}

/** What a variable or property is set to, if it is a function or a class. */
export type ValueDefinition = ({ kind: 'function' } & FunctionShape) | ({ kind: 'class' } & ClassShape);

export interface VariableExport extends ExportBase, Declared {
  kind: 'variable';
  declaredAs: string;
  type: string | null;
  value: ValueDefinition | null;
}

export interface TypeExport extends ExportBase, Declared {
  kind: 'type';
  typeParameters: string | null;
  type: string;
}

export interface InterfaceExport extends ExportBase, Declared {
  kind: 'interface';
  typeParameters: string | null;
  extends: string[];
  members: MemberDefinition[];
}

export interface EnumExport extends ExportBase, Declared {
  kind: 'enum';
  const: boolean;
  members: EnumMember[];
}

export interface EnumMember {
  name: string;
  /** Text of the initialiser. */
  value: string | null;
  doc: Documentation | null;
  place: Place;
}

export interface NamespaceExport extends ExportBase, Declared {
  kind: 'namespace';
  exports: ExportDefinition[];
}

/** Also of what was imported first, and exported by another statement. */
export interface Reexport extends ExportBase {
  kind: 'reexport';
  /** The specifier, as written. */
  source: string;
  /** What `source` calls it; `*` for its namespace. */
  imported: string;
}

/** The value of an expression, or a name that is not declared in the module. */
export interface OtherExport extends ExportBase {
  kind: 'expression' | 'unknown';
  /** Behind `as` or `satisfies`. */
  type: string | null;
}

export interface ParameterDefinition {
  /** For destructuring the text of the pattern. */
  name: string;
  /** Callers may leave it out. */
  optional: boolean;
  rest: boolean;
  default: string | null;
  type: string | null;
  decorators: DecoratorDefinition[];
  /** Set if the parameter of a constructor declares a property. */
  property: { visibility: Visibility; readonly: boolean } | null;
}

export interface DecoratorDefinition {
  name: string;
  /** Null if it is not called. */
  arguments: string[] | null;
}

export type Visibility = 'public' | 'protected' | 'private';

/** Member of a class or an interface. */
export interface MemberDefinition {
  /** With `#` if it is private to the class, in brackets if it is computed; empty for `call`, `construct` and `index`. */
  name: string;
  kind:
    | 'constructor'
    | 'method'
    | 'getter'
    | 'setter'
    | 'property'
    | 'accessor'
    | 'call'
    | 'construct'
    | 'index';
  visibility: Visibility;
  static: boolean;
  abstract: boolean;
  override: boolean;
  readonly: boolean;
  optional: boolean;
  async: boolean;
  generator: boolean;
  typeParameters: string | null;
  /** Null for what is not called: properties and accessors. */
  parameters: ParameterDefinition[] | null;
  /** Of a property its type, of what is called what it returns. */
  type: string | null;
  /** What a property is set to, if it is a function or a class. */
  value: ValueDefinition | null;
  decorators: DecoratorDefinition[];
  overloads: Overload[];
  doc: Documentation | null;
  place: Place;
}

export interface ImportDefinition {
  /** As written. */
  specifier: string;
  /** `type` for what is dropped because it says so; whether the rest is used as a value is not looked at. */
  kind: 'value' | 'type' | 'side-effect' | 'dynamic';
  names: ImportedName[];
  place: Place;
}

export interface ImportedName {
  /** `default`, `*` for the namespace, `export=` for `import x = require()`. */
  imported: string;
  local: string;
  typeOnly: boolean;
}
