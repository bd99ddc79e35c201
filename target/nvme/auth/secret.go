package auth

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strconv"
	"strings"
)

// Secret is what a side knows. It is shown to nobody but who asks for its Text.
// The zero Secret is none.
type Secret struct{ *secret }

type secret struct {
	hash Hash // with which it is transformed, 0: it is used as it is
	key  []byte
}

const (
	secretFormat = "DHHC-1"
	secretMax    = 64 // bytes of the key
)

var (
	errSecretFormat = errors.New("a secret looks like DHHC-1:01:BASE64: (as from nvme gen-dhchap-key)")
	errSecretHash   = errors.New("the second part of a secret is its hash: 00 (none), 01, 02 or 03")
	errSecretSize   = errors.New("a secret has 32, 48 or 64 bytes, and four of checksum")
	errSecretSum    = errors.New("the checksum of the secret is wrong: it was not copied whole")
)

// ParseSecret reads the representation of a secret (8.13.5.8): its format, its hash,
// and its key with the CRC-32 of that.
func ParseSecret(text string) (Secret, error) {
	parts := strings.Split(text, ":")
	if len(parts) != 4 || parts[0] != secretFormat || parts[3] != "" || len(parts[1]) != 2 {
		return Secret{}, errSecretFormat
	}
	number, err := strconv.ParseUint(parts[1], 10, 8)
	if err != nil || Hash(number) != 0 && !Hash(number).known() {
		return Secret{}, errSecretHash
	}
	if base64.StdEncoding.DecodedLen(len(parts[2])) > secretMax+8 || strings.ContainsAny(parts[2], "\r\n") {
		return Secret{}, errSecretSize
	}
	key, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil {
		return Secret{}, errSecretFormat
	}
	n := len(key) - 4
	if !secretSize(n) {
		return Secret{}, errSecretSize
	}
	if binary.LittleEndian.Uint32(key[n:]) != crc32.ChecksumIEEE(key[:n]) {
		return Secret{}, errSecretSum
	}
	return Secret{&secret{Hash(number), key[:n:n]}}, nil
}

// NewSecret is the secret with a key of 32, 48 or 64 random bytes, transformed with a
// hash, or with 0.
func NewSecret(h Hash, key []byte) (Secret, error) {
	if h != 0 && !h.known() {
		return Secret{}, errSecretHash
	}
	if !secretSize(len(key)) {
		return Secret{}, errSecretSize
	}
	return Secret{&secret{h, append([]byte(nil), key...)}}, nil
}

func secretSize(n int) bool { return n == 32 || n == 48 || n == 64 }

// IsZero tells that there is none.
func (s Secret) IsZero() bool { return s.secret == nil }

// Text is the secret's representation, which whoever reads it knows it by.
func (s Secret) Text() string {
	sum := binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(s.key))
	return secretFormat + ":0" + strconv.Itoa(int(s.hash)) + ":" + base64.StdEncoding.EncodeToString(append(s.key[:len(s.key):len(s.key)], sum...)) + ":"
}

// Equal tells whether both are of the same bytes, however transformed.
func (s Secret) Equal(other Secret) bool {
	if s.IsZero() || other.IsZero() {
		return s.IsZero() == other.IsZero()
	}
	return subtle.ConstantTimeCompare(s.key, other.key) == 1
}

// transformed is the secret as the side with the NQN uses it.
func (s Secret) transformed(nqn string) []byte {
	if s.hash == 0 {
		return s.key
	}
	return s.hash.sum(s.key, []byte(nqn), []byte("NVMe-over-Fabrics"))
}

func (Secret) String() string { return "(secret)" }

// GoString hides it from %#v, too.
func (s Secret) GoString() string { return s.String() }
