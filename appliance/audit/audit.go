// Package audit keeps a node's record of who ordered what, and what came of it: lines of JSON in two files of bounded
// size, which only their owner may read.
package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"
)

// Entry is one order. None of it is ever a secret.
type Entry struct {
	Time      time.Time `json:"time"`
	Request   string    `json:"request" doc:"Identity of the request, also in its answer (X-Request-Id) and in the node's log"`
	Who       string    `json:"who" doc:"Name of the token, or the user of who opened the node's socket"`
	Role      string    `json:"role"`
	From      string    `json:"from,omitempty" doc:"Address that it came from; none: the node's socket"`
	Operation string    `json:"operation"`
	Object    string    `json:"object,omitempty" doc:"What it was about, in words of the order"`
	Outcome   string    `json:"outcome" doc:"done, or the code of the problem"`
}

// sizeMax bounds each of the two files, bytes.
const sizeMax = 16 << 20

// Log is written by one process.
type Log struct {
	path string
	max  int64

	mu   sync.Mutex
	file *os.File
	size int64
}

// Open goes on at the end of a file, or makes it.
func Open(path string) (*Log, error) { return open(path, sizeMax) }

func open(path string, max int64) (*Log, error) {
	l := &Log{path: path, max: max}
	return l, l.begin()
}

func (l *Log) begin() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.size = f, info.Size()
	if l.size == 0 {
		return nil
	}
	n, err := f.Write([]byte{'\n'}) // behind what a crash may have cut off
	l.size += int64(n)
	return err
}

// former is the file before.
func former(path string) string { return path + ".1" }

// Append writes an entry. The oldest ones go when a file is full.
func (l *Log) Append(e Entry) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	text = append(text, '\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(text)) > l.max {
		if err := errors.Join(os.Rename(l.path, former(l.path)), l.file.Close(), l.begin()); err != nil {
			return err
		}
	}
	n, err := l.file.Write(text)
	l.size += int64(n)
	return err
}

// Close ends the writing.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}

// Read gives the entries since a time, oldest first, the latest of them if there are more than limit. Lines that a crash cut off are left out.
func Read(path string, since time.Time, limit int) ([]Entry, error) {
	all := []Entry{}
	for _, name := range []string{former(path), path} {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var e Entry
			if json.Unmarshal(lines.Bytes(), &e) == nil && !e.Time.Before(since) {
				all = append(all, e)
			}
			if len(all) >= 2*limit {
				all = append(all[:0], all[len(all)-limit:]...)
			}
		}
		if err := errors.Join(lines.Err(), f.Close()); err != nil {
			return nil, err
		}
	}
	return all[max(0, len(all)-limit):], nil
}
