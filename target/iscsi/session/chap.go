package session

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Algorithm is a CHAP hash (RFC 7143 12.1.3 and the IANA registry "PPP
// Authentication Algorithms").
type Algorithm uint8

const (
	MD5     Algorithm = 5
	SHA1    Algorithm = 6
	SHA256  Algorithm = 7
	SHA3256 Algorithm = 8
)

// Algorithms are all that we know, the strongest first.
var Algorithms = []Algorithm{SHA3256, SHA256, SHA1, MD5}

const (
	// MinSecret is the shortest CHAP secret that is taken, bytes: 96 bits
	// (RFC 7143 12.1.3 and 9.2.1). Hosts with Windows take 12 to 16.
	MinSecret = 12
	// MaxSecret is the longest, bytes.
	MaxSecret = 100
	// ChallengeSize is that of our challenges, bytes.
	ChallengeSize = 16

	maxChallenge = 1024 // of the other side, bytes (RFC 7143 12.1.3)
	maxUser      = 223  // of a CHAP_N, bytes
)

// Response is the answer to a challenge: the hash of identifier, secret and
// challenge (RFC 1994 4.1). It is nil for an unknown algorithm.
func (a Algorithm) Response(identifier byte, secret, challenge []byte) []byte {
	text := make([]byte, 0, 1+len(secret)+len(challenge))
	text = append(append(append(text, identifier), secret...), challenge...)
	switch a {
	case MD5:
		h := md5.Sum(text)
		return h[:]
	case SHA1:
		h := sha1.Sum(text)
		return h[:]
	case SHA256:
		h := sha256.Sum256(text)
		return h[:]
	case SHA3256:
		h := sha3.Sum256(text)
		return h[:]
	}
	return nil
}

// Choose is the first algorithm of a CHAP_A list that is one of ours, false if
// there is none (RFC 7143 6.2.1: the order is the host's preference). A list with
// an item that is no number has none.
func Choose(list string) (chosen Algorithm, ok bool) {
	for _, item := range strings.Split(list, ",") {
		n, err := strconv.ParseUint(item, 10, 16)
		if err != nil {
			return 0, false
		}
		if a := Algorithm(n); !ok && uint64(a) == n && slices.Contains(Algorithms, a) {
			chosen, ok = a, true
		}
	}
	return chosen, ok
}

var errBinary = errors.New("iscsi: malformed binary value")

// DecodeBinary reads a binary value, hexadecimal or base64 (RFC 7143 6.1), of
// at most most bytes.
func DecodeBinary(value string, most int) ([]byte, error) {
	if len(value) < 2 || value[0] != '0' {
		return nil, errBinary
	}
	digits := value[2:]
	switch value[1] {
	case 'x', 'X':
		if hex.DecodedLen(len(digits)) <= most {
			return hex.DecodeString(digits)
		}
	case 'b', 'B':
		// Up to two characters of the last four are padding.
		if base64.StdEncoding.DecodedLen(len(digits)) <= most+2 && !strings.ContainsAny(digits, "\r\n") {
			b, err := base64.StdEncoding.Strict().DecodeString(digits)
			if err == nil && len(b) <= most {
				return b, nil
			}
		}
	}
	return nil, errBinary
}

// EncodeBinary writes a binary value in hexadecimal, or in base64.
func EncodeBinary(b []byte, inBase64 bool) string {
	if inBase64 {
		return "0b" + base64.StdEncoding.EncodeToString(b)
	}
	return "0x" + hex.EncodeToString(b)
}

// IsBase64 tells how a binary value is written.
func IsBase64(value string) bool {
	return strings.HasPrefix(value, "0b") || strings.HasPrefix(value, "0B")
}

// equal compares secrets and what follows from them in constant time.
func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

// Credentials say what an initiator has to prove, and what proves us to it.
type Credentials struct {
	Users  []string // the names (CHAP_N) that the initiator may give
	Secret []byte   // what it must know; empty: it need not prove itself

	MutualUser   string // our name
	MutualSecret []byte // what we know; empty: we cannot prove ourselves

	// Identifier and Challenge are fresh and random for each login, the
	// challenge of ChallengeSize bytes.
	Identifier byte
	Challenge  []byte
}

// sound tells whether the secrets may be used at all: long enough, and not the
// same in both directions, which would let an initiator have its own challenge
// answered (RFC 7143 9.2.1).
func (c *Credentials) sound() bool {
	return len(c.Secret) >= MinSecret && len(c.Challenge) >= ChallengeSize &&
		(len(c.MutualSecret) == 0 || len(c.MutualSecret) >= MinSecret && !equal(c.Secret, c.MutualSecret))
}

// knows tells whether a CHAP_N is one of the initiator's names, which may be
// written as a binary value.
func (c *Credentials) knows(name string) bool {
	written, _ := DecodeBinary(name, maxUser)
	for _, u := range c.Users {
		if u == name || len(written) > 0 && u == string(written) {
			return true
		}
	}
	return false
}
