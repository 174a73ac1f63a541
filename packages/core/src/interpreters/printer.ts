import type { Algebra } from '../update-rule.js';

/** Source text of a value. `level`: 0 = a sum, 1 = a product, 2 = may stand anywhere. */
export interface Expression {
  readonly text: string;
  readonly level: 0 | 1 | 2;
}

/** A name, a call, an element of an array: text that needs no parentheses. */
export const atom = (text: string): Expression => ({ text, level: 2 });

/** How a language declares a value, and takes a root. The infix operators are the same everywhere. */
export interface Dialect {
  declare(name: string, text: string): string;
  sqrt(text: string): string;
}

export const wgsl: Dialect = {
  declare: (name, text) => `let ${name} = ${text};`,
  sqrt: (text) => `sqrt(${text})`,
};

/** Four numbers at a time. */
export const glsl: Dialect = {
  declare: (name, text) => `vec4 ${name} = ${text};`,
  sqrt: (text) => `sqrt(${text})`,
};

export const javascript: Dialect = {
  declare: (name, text) => `const ${name} = ${text};`,
  sqrt: (text) => `Math.sqrt(${text})`,
};

/**
 * The algebra of text: the rule, written down in a language with infix operators. What the rule names
 * becomes a line of its own. Order of evaluation is kept, so that every language rounds alike.
 */
export function printer(dialect: Dialect): Algebra<Expression> & { readonly lines: string[] } {
  const lines: string[] = [];
  const infix = (operator: string, level: 0 | 1) => (a: Expression, b: Expression) => ({
    text: `${within(a, level)} ${operator} ${within(b, level + 1)}`,
    level,
  });
  return {
    lines,
    add: infix('+', 0),
    sub: infix('-', 0),
    mul: infix('*', 1),
    div: infix('/', 1),
    sqrt: (a) => atom(dialect.sqrt(a.text)),
    name: (label, value) => {
      lines.push(dialect.declare(label, value.text));
      return atom(label);
    },
  };
}

const within = ({ text, level }: Expression, least: number) => (level < least ? `(${text})` : text);
