import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { type handleUnaryCall, Server, ServerCredentials } from '@grpc/grpc-js';
import {
  type TokenizeRequest,
  TokenizeRequestSchema,
  type TokenizeResponse,
  TokenizeResponseSchema,
} from '../../src/rpc/gen/lockstep/v1/token_service_pb.ts';
import { TOKENIZE } from './payloads.ts';

/** The measure of the gRPC figures: an ordinary service on grpc-js, with the messages of the
 *  contract and protobuf-es' codecs, that answers the values it was sent. */
const tokenize: handleUnaryCall<TokenizeRequest, TokenizeResponse> = (call, respond) =>
  respond(null, create(TokenizeResponseSchema, { tokens: call.request.values }));

const server = new Server();
server.addService(
  {
    tokenize: {
      path: `/${TOKENIZE}`,
      requestStream: false,
      responseStream: false,
      requestDeserialize: (bytes: Buffer) => fromBinary(TokenizeRequestSchema, bytes),
      responseSerialize: (message: TokenizeResponse) =>
        bufferOf(toBinary(TokenizeResponseSchema, message)),
      // The client's half, which a server never calls.
      requestSerialize: (message: TokenizeRequest) =>
        bufferOf(toBinary(TokenizeRequestSchema, message)),
      responseDeserialize: (bytes: Buffer) => fromBinary(TokenizeResponseSchema, bytes),
    },
  },
  { tokenize },
);
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error;
  process.stdout.write(`${JSON.stringify({ ready: true, port })}\n`);
});
process.once('SIGTERM', () => server.forceShutdown());
process.stdin.once('end', () => process.exit()).resume();

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
