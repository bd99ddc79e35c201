package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
)

// Hash is a hash function, by its number in the messages.
type Hash uint8

const (
	SHA256 Hash = 1
	SHA384 Hash = 2
	SHA512 Hash = 3
)

// Hashes are all that we know, in the order of our preference.
var Hashes = []Hash{SHA512, SHA384, SHA256}

func (h Hash) known() bool { return h >= SHA256 && h <= SHA512 }

// Size is the length of a hash, and of challenges and responses made with it,
// bytes; 0 for an unknown one.
func (h Hash) Size() int {
	switch h {
	case SHA256:
		return sha256.Size
	case SHA384:
		return sha512.Size384
	case SHA512:
		return sha512.Size
	}
	return 0
}

func (h Hash) String() string {
	if !h.known() {
		return fmt.Sprintf("hash %d", uint8(h))
	}
	return fmt.Sprintf("sha%d", h.Size()*8)
}

func (h Hash) new() hash.Hash {
	switch h {
	case SHA256:
		return sha256.New()
	case SHA384:
		return sha512.New384()
	case SHA512:
		return sha512.New()
	}
	panic("nvme auth: " + h.String() + " was not checked")
}

// sum is the HMAC of the parts, one after the other.
func (h Hash) sum(key []byte, parts ...[]byte) []byte {
	mac := hmac.New(h.new, key)
	for _, p := range parts {
		mac.Write(p)
	}
	return mac.Sum(nil)
}

// question is what a response answers.
type question struct {
	hash        Hash
	transaction uint16
	sequence    uint32 // S1 or S2
	challenge   []byte // C1 or C2
	shared      []byte // g^xy mod p, of the group's size; nil without a group
}

// Of the sides that answer.
const (
	roleHost       = "HostHost"
	roleController = "Controller"
)

// answer is the response that a side gives who knows the secret: R1 of the host,
// R2 of the controller (8.13.5.4 and 8.13.5.5). The byte before the role is SC_C,
// which is 0 without secure channel concatenation.
func (q *question) answer(s Secret, role, own, other string) []byte {
	challenge := q.challenge
	if q.shared != nil {
		session := q.hash.new()
		session.Write(q.shared)
		challenge = q.hash.sum(session.Sum(nil), challenge)
	}
	var numbers [7]byte
	binary.LittleEndian.PutUint32(numbers[:], q.sequence)
	binary.LittleEndian.PutUint16(numbers[4:], q.transaction)
	return q.hash.sum(s.transformed(own), challenge, numbers[:], []byte(role), []byte(own), []byte{0}, []byte(other))
}
