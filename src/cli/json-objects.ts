import { Refusal } from './frame.ts';
import type { TextInput } from './sources.ts';

/** An object of a JSON text, and the line that it began in. */
export interface FoundObject {
  readonly line: number;
  readonly fields: Readonly<Record<string, unknown>>;
}

const OBJECT_MAX = 1024 * 1024;
const [QUOTE, BACKSLASH, OPEN, CLOSE, LINE_END] = [0x22, 0x5c, 0x7b, 0x7d, 0x0a];

/** The innermost objects of a text, in their order: those of NDJSON, of an array, or of an array
 *  inside an answer, however it is laid out. The text is never in memory as a whole. Faults name a
 *  line and a rule, never what stands there. */
export async function* jsonObjects(input: TextInput): AsyncGenerator<readonly FoundObject[]> {
  const scanner = new Scanner();
  for await (const text of input.texts) {
    const found = scanner.read(text);
    if (found.length > 0) yield found;
  }
  scanner.end();
}

class Scanner {
  /** Text of the object under way, up to this piece; undefined outside. */
  #begun: string | undefined;
  #beganAtLine = 1;
  #line = 1;
  #inText = false;
  #escaped = false;
  #depth = 0;

  read(piece: string): FoundObject[] {
    const found: FoundObject[] = [];
    let start = this.#begun === undefined ? -1 : 0;
    for (let i = 0; i < piece.length; i++) {
      const unit = piece.charCodeAt(i);
      if (unit === LINE_END) this.#line++;
      if (this.#inText) {
        this.#withinText(unit);
      } else if (unit === QUOTE) {
        this.#inText = true;
      } else if (unit === OPEN) {
        // What encloses it is a wrapper: only the innermost counts.
        this.#begun = '';
        this.#beganAtLine = this.#line;
        this.#depth++;
        start = i;
      } else if (unit === CLOSE) {
        if (--this.#depth < 0) throw this.#fault('an object ends that did not begin');
        if (start >= 0) found.push(this.#parsed(piece.slice(start, i + 1)));
        this.#begun = undefined;
        start = -1;
      }
    }
    if (start >= 0) this.#begun += piece.slice(start);
    if ((this.#begun?.length ?? 0) > OBJECT_MAX) throw this.#fault('the object is too long');
    return found;
  }

  end(): void {
    if (this.#depth > 0 || this.#inText) throw this.#fault('the text ends inside an object');
  }

  #withinText(unit: number): void {
    if (this.#escaped) this.#escaped = false;
    else if (unit === BACKSLASH) this.#escaped = true;
    else if (unit === QUOTE) this.#inText = false;
  }

  #parsed(last: string): FoundObject {
    try {
      const fields: unknown = JSON.parse(`${this.#begun ?? ''}${last}`);
      return { line: this.#beganAtLine, fields: fields as FoundObject['fields'] };
    } catch {
      // The parser's message quotes the text.
      throw new Refusal(`line ${this.#beganAtLine}: not valid JSON`);
    }
  }

  #fault(text: string): Refusal {
    return new Refusal(`line ${this.#line}: ${text}`);
  }
}
