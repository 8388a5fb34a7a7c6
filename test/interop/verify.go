// Command verify reads a log of Lockstep's with Go's own transparency log packages, which share no
// code with it: sumdb/note for the checkpoint, sumdb/tlog for tiles, inclusion and consistency.
//
//	verify FOLDER VERIFIER-KEY [OLDER-CHECKPOINT]
//
// It prints the number of entries proven, or fails with the first thing that does not hold.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

func main() {
	if len(os.Args) < 3 {
		fail(errors.New("usage: verify FOLDER VERIFIER-KEY [OLDER-CHECKPOINT]"))
	}
	folder, vkey := os.Args[1], os.Args[2]
	tree, err := readCheckpoint(filepath.Join(folder, "checkpoint"), vkey)
	fail(err)
	reader := tlog.TileHashReader(tree, tiles{folder})
	for index := range tree.N {
		entry, err := readEntry(folder, index, tree.N)
		fail(err)
		proof, err := tlog.ProveRecord(tree.N, index, reader)
		fail(err)
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)); err != nil {
			fail(fmt.Errorf("entry %d: %w", index, err))
		}
	}
	if len(os.Args) > 3 {
		older, err := readCheckpoint(os.Args[3], vkey)
		fail(err)
		proof, err := tlog.ProveTree(tree.N, older.N, reader)
		fail(err)
		fail(tlog.CheckTree(proof, tree.N, tree.Hash, older.N, older.Hash))
	}
	fmt.Println(tree.N)
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func readCheckpoint(path, vkey string) (tlog.Tree, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tlog.Tree{}, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, errors.New("not a checkpoint of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

// tiles reads C2SP tlog-tiles, whose paths leave out the height that sumdb's have.
type tiles struct{ folder string }

func (t tiles) Height() int { return height }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		data, err := os.ReadFile(filepath.Join(t.folder, c2spPath(tile)))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func c2spPath(tile tlog.Tile) string {
	return strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
}

// readEntry finds the entry in its bundle. sumdb names level -1 "data"; C2SP says "entries".
func readEntry(folder string, index, size int64) ([]byte, error) {
	tile := tlog.Tile{H: height, L: -1, N: index / 256, W: int(min(256, size-index/256*256))}
	path := strings.Replace(c2spPath(tile), "tile/data/", "tile/entries/", 1)
	bundle, err := os.ReadFile(filepath.Join(folder, path))
	if err != nil {
		return nil, err
	}
	for i := index % 256; ; i-- {
		if len(bundle) < 2 || len(bundle) < 2+int(binary.BigEndian.Uint16(bundle)) {
			return nil, fmt.Errorf("entry %d: the bundle ends early", index)
		}
		end := 2 + int(binary.BigEndian.Uint16(bundle))
		if i == 0 {
			return bundle[2:end], nil
		}
		bundle = bundle[end:]
	}
}
