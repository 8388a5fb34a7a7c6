import { readFileSync } from 'node:fs';
import {
  create,
  createFileRegistry,
  type DescFile,
  type FileRegistry,
  fromBinary,
  toBinary,
} from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import type { Handlers, Pipe } from './adapter.ts';
import {
  type ServerReflection,
  type ServerReflectionRequest,
  type ServerReflectionResponse,
  ServerReflectionResponseSchema,
} from './gen/grpc/reflection/v1/reflection_pb.ts';

const NOT_FOUND = 5;
const UNIMPLEMENTED = 12;

/** The descriptors as buf built them, comments and options kept: generated code has neither. */
interface Descriptors {
  readonly registry: FileRegistry;
  /** Serialized FileDescriptorProto by file name. */
  readonly files: ReadonlyMap<string, Uint8Array>;
}

export function loadDescriptors(): Descriptors {
  const image = readFileSync(new URL('./gen/image.binpb', import.meta.url));
  const set = fromBinary(FileDescriptorSetSchema, image);
  const files = set.file.map(
    (file) => [file.name, toBinary(FileDescriptorProtoSchema, file)] as const,
  );
  return { registry: createFileRegistry(set), files: new Map(files) };
}

/** Server reflection. v1 and v1alpha have the same messages under two names, so one handler serves
 *  both. It tells of the contract alone, hence asks nobody who he is. */
export function reflectionHandlers<Context>(
  descriptors: Descriptors,
  services: readonly string[],
): Handlers<(typeof ServerReflection)['method'], Record<never, never>, Context> {
  return {
    async serverReflectionInfo(
      pipe: Pipe<ServerReflectionRequest, ServerReflectionResponse>,
    ): Promise<void> {
      for await (const request of pipe.incoming) {
        await pipe.send(
          create(ServerReflectionResponseSchema, {
            validHost: request.host,
            originalRequest: request,
            messageResponse: respond(request.messageRequest, descriptors, services),
          }),
        );
      }
    },
  };
}

type Answer = ServerReflectionResponse['messageResponse'];

function respond(
  ask: ServerReflectionRequest['messageRequest'],
  descriptors: Descriptors,
  services: readonly string[],
): Answer {
  const { registry } = descriptors;
  switch (ask.case) {
    case 'listServices': {
      const value = { service: services.map((name) => ({ name })) };
      return create(ServerReflectionResponseSchema, {
        messageResponse: { case: 'listServicesResponse', value },
      }).messageResponse;
    }
    case 'fileByFilename':
      return fileAnswer(registry.getFile(ask.value), descriptors);
    case 'fileContainingSymbol':
      return fileAnswer(fileOf(ask.value, registry), descriptors);
    case 'allExtensionNumbersOfType': {
      // Ours has no extensions; a type that exists has none of them.
      if (registry.getMessage(ask.value) === undefined) return failure(NOT_FOUND);
      const value = { baseTypeName: ask.value, extensionNumber: [] };
      return create(ServerReflectionResponseSchema, {
        messageResponse: { case: 'allExtensionNumbersResponse', value },
      }).messageResponse;
    }
    case 'fileContainingExtension':
      return failure(NOT_FOUND);
    default:
      return failure(UNIMPLEMENTED);
  }
}

/** The file of a type, or of a method, field or value inside one. */
function fileOf(symbol: string, registry: FileRegistry): DescFile | undefined {
  for (let name = symbol; name !== ''; name = name.slice(0, Math.max(0, name.lastIndexOf('.')))) {
    const found = registry.get(name);
    if (found !== undefined) return found.file;
  }
  return undefined;
}

/** The file and all it imports, so that a client asks once. */
function fileAnswer(file: DescFile | undefined, { files }: Descriptors): Answer {
  if (file === undefined) return failure(NOT_FOUND);
  const found = new Map<string, Uint8Array<ArrayBuffer>>();
  const add = (of: DescFile): void => {
    const name = `${of.name}.proto`;
    const bytes = files.get(name);
    if (bytes === undefined || found.has(name)) return;
    found.set(name, Uint8Array.from(bytes));
    for (const dependency of of.dependencies) add(dependency);
  };
  add(file);
  return create(ServerReflectionResponseSchema, {
    messageResponse: {
      case: 'fileDescriptorResponse',
      value: { fileDescriptorProto: [...found.values()] },
    },
  }).messageResponse;
}

/** Fixed texts: what was asked for is not repeated. */
function failure(errorCode: number): Answer {
  const errorMessage = errorCode === NOT_FOUND ? 'not found' : 'not served';
  return create(ServerReflectionResponseSchema, {
    messageResponse: { case: 'errorResponse', value: { errorCode, errorMessage } },
  }).messageResponse;
}
