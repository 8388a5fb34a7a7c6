// Command bench times FF1 of github.com/capitalone/fpe over nine decimal digits, value by value, as
// its callers use it. Arguments: seconds, key in hex. Prints nanoseconds a value.
package main

import (
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/capitalone/fpe/ff1"
)

const valuesPerBatch = 1000

func main() {
	seconds, err := strconv.ParseFloat(os.Args[1], 64)
	check(err)
	key, err := hex.DecodeString(os.Args[2])
	check(err)
	cipher, err := ff1.NewCipher(10, 16, key, nil)
	check(err)
	values := make([]string, valuesPerBatch)
	for i := range values {
		values[i] = fmt.Sprintf("%09d", (i*1000003+12345)%1000000000)
	}
	encrypt := func() {
		for _, value := range values {
			_, err := cipher.Encrypt(value)
			check(err)
		}
	}
	encrypt()
	length := time.Duration(seconds * float64(time.Second))
	count := 0
	start := time.Now()
	for time.Since(start) < length {
		encrypt()
		count += valuesPerBatch
	}
	fmt.Printf("%.1f\n", float64(time.Since(start).Nanoseconds())/float64(count))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
