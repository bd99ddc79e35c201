package pdu

import (
	"errors"
	"strings"
)

// Pair is one text key and its value (RFC 7143 6.1).
type Pair struct{ Key, Value string }

// MaxKey and MaxValue are the longest name and value of a key, bytes (RFC 7143 6.1 and 6.2).
const (
	MaxKey   = 63
	MaxValue = 8192
)

var errText = errors.New("iscsi: malformed text")

// UnmarshalText reads key=value pairs, each ended by a NUL; the last NUL may
// be absent.
func UnmarshalText(b []byte) ([]Pair, error) {
	var pairs []Pair
	for _, item := range strings.Split(string(b), "\x00") {
		if item == "" {
			continue // some initiators pad with NULs
		}
		key, value, found := strings.Cut(item, "=")
		if !found || key == "" || len(key) > MaxKey || len(value) > MaxValue {
			return nil, errText
		}
		pairs = append(pairs, Pair{key, value})
	}
	return pairs, nil
}

// AppendText writes a pair after b.
func AppendText(b []byte, key, value string) []byte {
	b = append(b, key...)
	b = append(b, '=')
	b = append(b, value...)
	return append(b, 0)
}
