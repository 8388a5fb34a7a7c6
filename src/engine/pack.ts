/** A message between the threads with its typed arrays laid into one buffer, which is handed over
 *  and not copied again: a message of many small columns is then one allocation on each side and
 *  not several a column, which the garbage collector would have to find one by one. */
export interface Packed {
  /** The message, each typed array replaced by its place. */
  readonly shape: unknown;
  readonly buffer: ArrayBuffer;
}

type View = Uint8Array | Uint32Array | Float64Array;

/** Where a typed array lies in the buffer: bytes an element, first byte, elements. */
interface Place {
  readonly width: 1 | 4 | 8;
  readonly at: number;
  readonly count: number;
}

/** Every array starts where any of them may. */
const ALIGNMENT = 8;

export function pack(message: unknown): Packed {
  const views: View[] = [];
  const places: Place[] = [];
  let length = 0;
  const place = (view: View): Place => {
    const width = view.BYTES_PER_ELEMENT as Place['width'];
    const placed = { width, at: length, count: view.length };
    views.push(view);
    places.push(placed);
    length += Math.ceil(view.byteLength / ALIGNMENT) * ALIGNMENT;
    return placed;
  };
  const shape = replace(message, place);
  const buffer = new ArrayBuffer(length);
  const bytes = new Uint8Array(buffer);
  for (const [i, view] of views.entries()) {
    bytes.set(new Uint8Array(view.buffer, view.byteOffset, view.byteLength), places[i]!.at);
  }
  return { shape, buffer };
}

function replace(value: unknown, place: (view: View) => Place): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (ArrayBuffer.isView(value)) return place(value as View);
  if (Array.isArray(value)) return value.map((item) => replace(item, place));
  const copy: Record<string, unknown> = {};
  for (const name in value) copy[name] = replace(Reflect.get(value, name), place);
  return copy;
}

/** The message again; its typed arrays are views of the one buffer. `T` is what was packed. */
export function unpack<T>({ shape, buffer }: Packed): T {
  return restore(shape, buffer) as T;
}

function restore(value: unknown, buffer: ArrayBuffer): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => restore(item, buffer));
  if ('width' in value) return viewOf(value as Place, buffer);
  // In place: the clone of a shape belongs to nobody else.
  const message = value as Record<string, unknown>;
  for (const name in message) message[name] = restore(message[name], buffer);
  return message;
}

function viewOf({ width, at, count }: Place, buffer: ArrayBuffer): View {
  if (width === 1) return new Uint8Array(buffer, at, count);
  return width === 4 ? new Uint32Array(buffer, at, count) : new Float64Array(buffer, at, count);
}
