/** What a serving process is started with, as the first line of main.ts does. Batches live in array
 *  buffers, which V8 counts as memory outside its heap and sweeps in helper threads: on two cores
 *  those took as much time as the server's own (478 against 93 µs a call of 1,000 values). */
export const SERVER_FLAGS: readonly string[] = ['--single-threaded-gc'];
